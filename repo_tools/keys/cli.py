"""`repo-tools key`: make keys, name those that live elsewhere, look at them."""

from __future__ import annotations

from pathlib import Path

import click

from repo_tools.clickgroup import INPUT, INPUT_FILE, OUTPUT, answer, needs_extra
from repo_tools.environment import Environment
from repo_tools.errors import KeyUnavailable
from repo_tools.keys.keyfile import PUBLIC_SUFFIX, load_key_ring, write_public_key
from repo_tools.keys.signers import KeyType, generate_key, import_key
from signpost.cli_support import Cli, json_option


@click.group(cls=Cli)
def key() -> None:
    """Keys: make them, and name those in tokens and key services."""


@key.command("generate")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=OUTPUT)
@click.option(
    "--type",
    "key_type",
    type=click.Choice([kind.value for kind in KeyType]),
    default=KeyType.ED25519.value,
    show_default=True,
    help="Kind of key.",
)
@click.option("--passphrase-file", type=INPUT_FILE, help="Encrypt with the first line of a file.")
@click.option("--no-passphrase", is_flag=True, help="Leave the private half unencrypted.")
@click.option(
    "--token",
    metavar="hsm:[ID][?label=TOKEN]",
    help="Make one key inside a PKCS#11 token instead; always ECDSA. NAME.pub names it.",
)
@json_option
@click.pass_obj
def generate(
    env: Environment,
    names: tuple[Path, ...],
    key_type: str,
    passphrase_file: Path | None,
    no_passphrase: bool,
    token: str | None,
) -> None:
    """Make key pairs: NAME.pem, which stays here, and NAME.pub, which goes where it is needed.

    NAME may be a path. The private half is encrypted with a passphrase, asked for unless it is in a
    file or in REPO_TOOLS_PASSPHRASE. Nothing is ever overwritten.
    """
    if token is not None:
        _generate_in_token(env, names, token)
        return
    made = []
    for name in names:
        passphrase = None if no_passphrase else _passphrase(env, name.name, passphrase_file)
        made.append(generate_key(name, KeyType(key_type), passphrase, kernel=env.kernel))
    answer(
        "\n".join(
            f"{pub.label} {pub.key.scheme}: {name}.pem and {name}.pub"
            for name, pub in zip(names, made, strict=True)
        ),
        {"keys": [pub.to_json() for pub in made]},
    )


def _generate_in_token(env: Environment, names: tuple[Path, ...], token: str) -> None:
    """Make one key in a token, and name it."""
    with needs_extra("pkcs11"):
        from repo_tools.keys.token import generate_token_key  # noqa: PLC0415

    if len(names) != 1:
        raise click.UsageError("--token makes one key at a time")
    generate_token_key(names[0].name, token, env.secrets)
    _import(env, names[0], token)


@key.command("import")
@click.argument("name", type=OUTPUT)
@click.argument("uri")
@json_option
@click.pass_obj
def import_(env: Environment, name: Path, uri: str) -> None:
    r"""Write NAME.pub for a key whose private half stays in a token or key service.

    \b
    hsm:[ID][?label=TOKEN]     PKCS#11 token; PYKCS11LIB names its module   updog[pkcs11]
    awskms:KEY                 AWS KMS                                     updog[awskms]
    gcpkms:RESOURCE            Google Cloud KMS                            updog[gcpkms]
    azurekms:VAULT/KEY         Azure Key Vault                             updog[azurekms]
    hv:KEY                     HashiCorp Vault transit                     updog[vault]
    """
    _import(env, name, uri)


def _import(env: Environment, name: Path, uri: str) -> None:
    """Fetch a public half, and store it."""
    public = import_key(name.name, uri, env.secrets)
    name.parent.mkdir(parents=True, exist_ok=True)
    path = name.with_name(name.name + PUBLIC_SUFFIX)
    write_public_key(public, path, kernel=env.kernel)
    answer(f"{public.label} {public.key.scheme} at {public.uri}: {path}", public.to_json())


@key.command("show")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=INPUT)
@json_option
def show(paths: tuple[Path, ...]) -> None:
    """Show public keys, from files or directories of them."""
    keys = sorted(load_key_ring(paths).values(), key=lambda each: each.name)
    answer(
        "\n".join(
            f"{each.name}: {each.keyid} {each.key.scheme} {each.uri or '-'}" for each in keys
        ),
        {"keys": [each.to_json() for each in keys]},
    )


def _passphrase(env: Environment, name: str, file: Path | None) -> str:
    """The passphrase of a new key.

    Raises:
        KeyUnavailable: It is empty.
    """
    if file is None:
        passphrase = env.secrets(name, "new passphrase")
    else:
        passphrase = next(iter(file.read_text(encoding="utf-8").splitlines()), "")
    if not passphrase:
        reason = "its passphrase is empty"
        raise KeyUnavailable(name, reason, hint="`--no-passphrase` leaves a key unencrypted")
    return passphrase
