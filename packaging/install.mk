# Included by the Makefile: installing into a tree (DESTDIR) and building Debian packages.
#
# A host gets the programs in a virtual environment of their own, /usr/lib/updog, together with the exact
# dependencies that the lock names: for the Python version that `make setup` used, and no other.

BIN ?= .venv/bin
DESTDIR ?=
LIB := $(DESTDIR)/usr/lib
SHARE := $(DESTDIR)/usr/share
PYTHON_VERSION = $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
SITE = $(LIB)/updog/lib/python$(PYTHON_VERSION)/site-packages
INSTALL_DATA := install -D -m 0644
INSTALL_PROGRAM := install -D -m 0755

# $(call install_packages,NAMES): our Python packages, sources only.
define install_packages
	@find $(1) -name '*.py' -o -name py.typed -o -name '*.toml' | \
	    while read -r file; do $(INSTALL_DATA) "$$file" "$(SITE)/$$file"; done
endef

# $(call install_words,PROGRAMS): their manual pages, and what shells need to complete their commands.
define install_words
	@pages=$$(mktemp -d); trap 'rm -r "$$pages"' EXIT; $(BIN)/repo-tools manual "$$pages" >/dev/null; \
	for program in $(1); do \
	    for page in "$$pages/$$program".*; do \
	        gzip -9n "$$page"; \
	        $(INSTALL_DATA) "$$page.gz" "$(SHARE)/man/man$${page##*.}/$${page##*/}.gz"; \
	    done; \
	    for place in bash:bash-completion/completions/$$program zsh:zsh/vendor-completions/_$$program \
	        fish:fish/vendor_completions.d/$$program.fish; do \
	        $(BIN)/repo-tools completion "$${place%%:*}" --program $$program >"$$pages/completion"; \
	        $(INSTALL_DATA) "$$pages/completion" "$(SHARE)/$${place#*:}"; \
	    done; \
	done
endef

# Alone (build-deb.sh runs it so), it takes the virtual environment to be ready.
.PHONY: setup

.PHONY: install
install: install-host install-initramfs install-repo-tools ## put everything under DESTDIR

.PHONY: install-host
install-host: setup ## updog, signpost, migrator, their units and checks, under DESTDIR
	@mkdir -p $(SITE) $(LIB)/updog/bin
	@$(BIN)/python packaging/vendor.py $(SITE) >/dev/null
	@ln -sf /usr/bin/python3 $(LIB)/updog/bin/python3
	@printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = $(PYTHON_VERSION)\n' \
	    >$(LIB)/updog/pyvenv.cfg
	$(call install_packages,partition signpost updog migrator)
	@for program in signpost updog migrator; do \
	    $(INSTALL_PROGRAM) packaging/bin/$$program $(DESTDIR)/usr/bin/$$program; done
	$(call install_words,updog signpost migrator)
	@for unit in boot/systemd/*; do \
	    $(INSTALL_DATA) $$unit $(LIB)/systemd/system/$$(basename $$unit); done
	@$(INSTALL_DATA) boot/systemd-preset/80-updog.preset $(LIB)/systemd/system-preset/80-updog.preset
	@$(INSTALL_DATA) boot/tmpfiles.d/updog.conf $(LIB)/tmpfiles.d/updog.conf
	@for check in boot/health/required.d/*; do \
	    $(INSTALL_PROGRAM) $$check $(LIB)/signpost/health/required.d/$$(basename $$check); done
	@mkdir -p $(LIB)/signpost/health/wanted.d \
	    $(DESTDIR)/etc/signpost/health/required.d $(DESTDIR)/etc/signpost/health/wanted.d
	@$(INSTALL_DATA) boot/health/README $(LIB)/signpost/health/README
	@$(INSTALL_DATA) boot/health/health.toml $(DESTDIR)/etc/signpost/health.toml
	@for file in README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT docs/boot.md; do \
	    $(INSTALL_DATA) $$file $(SHARE)/doc/updog/$$(basename $$file); done

.PHONY: install-initramfs
install-initramfs: ## the initramfs-tools hook and boot script, under DESTDIR
	@$(INSTALL_PROGRAM) boot/initramfs-tools/hooks/signpost $(SHARE)/initramfs-tools/hooks/signpost
	@$(INSTALL_DATA) boot/initramfs-tools/scripts/signpost $(SHARE)/initramfs-tools/scripts/signpost

.PHONY: install-repo-tools
install-repo-tools: ## repo-tools and updata, under DESTDIR; they need what install-host puts there
	$(call install_packages,repo_tools)
	@for program in repo-tools updata; do \
	    $(INSTALL_PROGRAM) packaging/bin/$$program $(DESTDIR)/usr/bin/$$program; done
	$(call install_words,repo-tools updata)

.PHONY: deb
deb: setup ## Debian packages in dist/: updog, updog-initramfs, updog-repo-tools
	@packaging/build-deb.sh dist
