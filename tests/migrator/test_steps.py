"""What each kind of step does, in both directions.

Cases marked "as Bottlerocket" are the unit tests of its helpers
(bottlerocket-os/bottlerocket, migration-helpers, common_migrations.rs), transcribed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from migrator import data_migration
from migrator.errors import StepFailed
from tests.migrator.builders import plain, plain_metadata, tree

Settings = Mapping[str, object]
Metadata = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Case:
    """A document, and what it makes of settings."""

    story: str
    document: str
    direction: str
    before: Settings = field(default_factory=dict)
    after: Settings = field(default_factory=dict)
    metadata_before: Metadata = field(default_factory=dict)
    metadata_after: Metadata = field(default_factory=dict)


FOUR = {"keep.me.a": 0, "remove.me.b": 0, "keep.this.c": 0, "remove.me.d.e": 0}
ALSO = {"keep.me.a": 0, "remove.me.b": 0, "keep.this.c": 0, "remove.this.d.e": 0}

ADD = """
[[steps]]
kind = "add-settings"
settings = ["settings.new", "settings.absent"]
"""
REMOVE = """
[[steps]]
kind = "remove-settings"
settings = ["settings.old", "settings.absent"]
"""
PREFIX_SUFFIX = """
[[steps]]
kind = "add-prefix-suffix"
prefix = "{}"
suffix = "{}"
"""
STRING = """
[[steps]]
kind = "replace-string"
setting = "settings.src"
old = "v1"
new = "v2"
"""
LISTS = """
[[steps]]
kind = "replace-lists"
items = [
  { setting = "hi", old = ["there", "you"], new = ["sup", "hey"] },
  { setting = "hi2", old = ["hey", "listen"], new = ["look", "watch out"] },
]
"""
ONE_LIST = """
[[steps]]
kind = "replace-list"
setting = "hi"
old-vals = ["there"]
new-vals = ["sup"]
"""
ADD_METADATA = """
[[steps]]
kind = "add-metadata"
setting = "hi"
metadata = ["there"]
"""
REMOVE_METADATA = ADD_METADATA.replace("add", "remove")
METADATA = """
[[steps]]
kind = "replace-metadata"
setting = "hiking"
metadata = "setting-generator"
old = "weather-is-sunny"
new = "/bin/true"
"""
METADATA_LISTS = """
[[steps]]
kind = "replace-metadata-lists"
items = [
  { setting = "greeting", metadata = "hi", old = ["a", "b"], new = ["c", "d"] },
  { setting = "goodbye", metadata = "bye", old = ["e"], new = [] },
]
"""
RENAME = """
[[steps]]
kind = "rename-settings"
names = { "settings.a" = "settings.b", "settings.x" = 'settings."dotted.name"' }
"""
SWAP = """
[[steps]]
kind = "rename-settings"
names = { "settings.a" = "settings.b", "settings.b" = "settings.a" }
"""
RENAME_PREFIX = """
[[steps]]
kind = "rename-prefixes"
from = "settings.ntp"
to = "settings.time.sync"
"""
CONVERT = """
[[steps]]
kind = "convert"
prefixes = ["settings.taints."]
forward = "to-list"
backward = "first"
"""
TO_STRING = """
[[steps]]
kind = "convert"
settings = ["settings.high"]
backward = "to-string"
"""
ONLY_FORWARD = STRING + 'only = "forward"\n'
TEMPLATE = """
[helpers.ecr-prefix]
default = "328.dkr.ecr.us-east-1"
values = { us-west-2 = "329.dkr.ecr.us-west-2" }

[[steps]]
kind = "replace-template"
setting = "settings.src"
old-template = "{{ ecr-prefix settings.region }}/admin:v1"
new-template = "{{ ecr-prefix settings.region }}/admin:v2"
"""
SCHNAUZER = """
[helpers.ecr]
default = "328"

[[steps]]
kind = "replace-schnauzer"
setting = "settings.src"
old-schnauzer-cmdline = "schnauzer-v2 render --requires 'x' --template '{{ ecr settings.r }}/c:v1'"
new-schnauzer-cmdline = "schnauzer-v2 render --requires 'x' --template '{{ ecr settings.r }}/c:v2'"
"""
OLD_LINE = "schnauzer-v2 render --requires 'x' --template '{{ ecr settings.r }}/c:v1'"
NEW_LINE = OLD_LINE.replace("v1", "v2")
OLD_TEMPLATE = "{{ ecr-prefix settings.region }}/admin:v1"
NEW_TEMPLATE = "{{ ecr-prefix settings.region }}/admin:v2"

CASES = [
    Case("nothing to add going forward", ADD, "forward", {"settings.new": 1}, {"settings.new": 1}),
    Case("added ones go on the way back", ADD, "backward", {"settings.new": 1, "a": 2}, {"a": 2}),
    Case("one removed", REMOVE, "forward", {"settings.old": [], "b": "c"}, {"b": "c"}),
    Case("what was removed is not made up", REMOVE, "backward", {"b": "c"}, {"b": "c"}),
    Case(
        "one prefix, as Bottlerocket",
        '[[steps]]\nkind = "add-prefixes"\nprefixes = ["remove.me"]',
        "backward",
        FOUR,
        {"keep.me.a": 0, "keep.this.c": 0},
    ),
    Case(
        "two prefixes, as Bottlerocket",
        '[[steps]]\nkind = "add-prefixes"\nprefixes = ["remove.me", "remove.this"]',
        "backward",
        ALSO,
        {"keep.me.a": 0, "keep.this.c": 0},
    ),
    Case(
        "prefixes that match nothing, as Bottlerocket",
        '[[steps]]\nkind = "add-prefixes"\nprefixes = ["not.found", "nor.this"]',
        "backward",
        ALSO,
        ALSO,
    ),
    Case(
        "a prefix is a string",
        '[[steps]]\nkind = "add-prefixes"\nprefixes = ["settings.ntp"]',
        "backward",
        {"settings.ntp.a": 1, "settings.ntp-servers": 2, "settings.nt": 3},
        {"settings.nt": 3},
    ),
    Case(
        "prefixes are left alone going forward",
        '[[steps]]\nkind = "add-prefixes"\nprefixes = ["remove.me"]',
        "forward",
        FOUR,
        FOUR,
    ),
    Case(
        "removed prefixes go forward",
        '[[steps]]\nkind = "remove-prefixes"\nprefixes = ["remove.me"]',
        "forward",
        FOUR,
        {"keep.me.a": 0, "keep.this.c": 0},
    ),
    Case(
        "prefix and suffix, as Bottlerocket",
        PREFIX_SUFFIX.format("remove", "this"),
        "backward",
        {"keep.stuff.like.this": 0, "remove.stuff.like.this": 0, "remove.also.like.this": 0},
        {"keep.stuff.like.this": 0},
    ),
    Case(
        "compound suffix, as Bottlerocket",
        PREFIX_SUFFIX.format("remove", "like.this"),
        "backward",
        {"remove.stuff.like.this": 0, "remove.not.this": 0},
        {"remove.not.this": 0},
    ),
    Case(
        "stray dots match nothing, as Bottlerocket",
        PREFIX_SUFFIX.format("remove.", ".this"),
        "backward",
        {"remove.stuff.this": 0},
        {"remove.stuff.this": 0},
    ),
    Case(
        "something must stand between, as Bottlerocket",
        PREFIX_SUFFIX.format("settings.host-containers", "command"),
        "backward",
        {
            "settings.host-containers.admin.command": 0,
            "settings.host-containers.command": 0,
            "settings.host-containersadmincommand": 0,
        },
        {"settings.host-containers.command": 0, "settings.host-containersadmincommand": 0},
    ),
    Case("a string", STRING, "forward", {"settings.src": "v1"}, {"settings.src": "v2"}),
    Case("a string back", STRING, "backward", {"settings.src": "v2"}, {"settings.src": "v1"}),
    Case(
        "somebody's own string",
        STRING,
        "forward",
        {"settings.src": "x"},
        {"settings.src": "x"},
    ),
    Case("not a string", STRING, "forward", {"settings.src": 1}, {"settings.src": 1}),
    Case("no such string", STRING, "forward", {}, {}),
    Case(
        "lists, as Bottlerocket",
        LISTS,
        "forward",
        {"hi": ["there", "you"], "hi2": ["hey", "listen"], "ignored": ["no", "change"]},
        {"hi": ["sup", "hey"], "hi2": ["look", "watch out"], "ignored": ["no", "change"]},
    ),
    Case("a list back, as Bottlerocket", ONE_LIST, "backward", {"hi": ["sup"]}, {"hi": ["there"]}),
    Case(
        "another list, as Bottlerocket",
        ONE_LIST,
        "forward",
        {"hi": ["no", "change"]},
        {"hi": ["no", "change"]},
    ),
    Case("no list at all, as Bottlerocket", ONE_LIST, "forward", {"hi": "there"}, {"hi": "there"}),
    Case("an empty list is a list", ONE_LIST, "forward", {"hi": []}, {"hi": []}),
    Case(
        "metadata goes on the way back, as Bottlerocket",
        ADD_METADATA,
        "backward",
        metadata_before={"hi": {"there": "whatever", "sup": 1}},
        metadata_after={"hi": {"sup": 1}},
    ),
    Case(
        "metadata stays going forward",
        ADD_METADATA,
        "forward",
        metadata_before={"hi": {"there": "whatever"}},
        metadata_after={"hi": {"there": "whatever"}},
    ),
    Case(
        "metadata removed, as Bottlerocket",
        REMOVE_METADATA,
        "forward",
        metadata_before={"hi": {"there": "whatever"}, "ho": {"there": 1}},
        metadata_after={"ho": {"there": 1}},
    ),
    Case(
        "removed metadata is not made up, as Bottlerocket",
        REMOVE_METADATA,
        "backward",
        metadata_before={"hi": {"there": "whatever"}},
        metadata_after={"hi": {"there": "whatever"}},
    ),
    Case(
        "metadata replaced, as Bottlerocket",
        METADATA,
        "forward",
        metadata_before={"hiking": {"setting-generator": "weather-is-sunny"}},
        metadata_after={"hiking": {"setting-generator": "/bin/true"}},
    ),
    Case(
        "metadata replaced back, as Bottlerocket",
        METADATA,
        "backward",
        metadata_before={"hiking": {"setting-generator": "/bin/true"}},
        metadata_after={"hiking": {"setting-generator": "weather-is-sunny"}},
    ),
    Case(
        "a metadata list is no string, as Bottlerocket",
        METADATA,
        "forward",
        metadata_before={"hiking": {"setting-generator": ["weather-is-sunny"]}},
        metadata_after={"hiking": {"setting-generator": ["weather-is-sunny"]}},
    ),
    Case(
        "metadata lists, as Bottlerocket",
        METADATA_LISTS,
        "forward",
        metadata_before={"greeting": {"hi": ["a", "b"]}, "goodbye": {"bye": ["e"]}},
        metadata_after={"greeting": {"hi": ["c", "d"]}, "goodbye": {"bye": []}},
    ),
    Case(
        "metadata lists back",
        METADATA_LISTS,
        "backward",
        metadata_before={"greeting": {"hi": ["c", "d"]}, "goodbye": {"bye": []}},
        metadata_after={"greeting": {"hi": ["a", "b"]}, "goodbye": {"bye": ["e"]}},
    ),
    Case(
        "other metadata lists, as Bottlerocket",
        METADATA_LISTS,
        "forward",
        metadata_before={"greeting": {"hi": "a string"}, "goodbye": {"other": ["e"]}},
        metadata_after={"greeting": {"hi": "a string"}, "goodbye": {"other": ["e"]}},
    ),
    Case(
        "a name and its metadata move",
        RENAME,
        "forward",
        {"settings.a": [1], "settings.x": "y"},
        {"settings.b": [1], 'settings."dotted.name"': "y"},
        {"settings.a": {"m": 1}, "settings.a.below": {"m": 2}},
        {"settings.b": {"m": 1}, "settings.a.below": {"m": 2}},
    ),
    Case(
        "they move back",
        RENAME,
        "backward",
        {"settings.b": [1], 'settings."dotted.name"': "y"},
        {"settings.a": [1], "settings.x": "y"},
    ),
    Case(
        "what stood in the new place gives way",
        RENAME,
        "forward",
        {"settings.a": 1, "settings.b": 2},
        {"settings.b": 1},
    ),
    Case("nothing to move", RENAME, "forward", {"settings.b": 2}, {"settings.b": 2}),
    Case(
        "two names can be swapped",
        SWAP,
        "forward",
        {"settings.a": 1, "settings.b": 2},
        {"settings.a": 2, "settings.b": 1},
    ),
    Case(
        "a prefix moves by whole segments",
        RENAME_PREFIX,
        "forward",
        {"settings.ntp.servers": 1, 'settings.ntp."a.b"': 2, "settings.ntp-x": 3},
        {"settings.time.sync.servers": 1, 'settings.time.sync."a.b"': 2, "settings.ntp-x": 3},
        {"settings.ntp": {"affected-services": ["chronyd"]}},
        {"settings.time.sync": {"affected-services": ["chronyd"]}},
    ),
    Case(
        "a prefix moves back",
        RENAME_PREFIX,
        "backward",
        {"settings.time.sync.servers": 1, "settings.time.zone": 2},
        {"settings.ntp.servers": 1, "settings.time.zone": 2},
    ),
    Case(
        "strings become lists",
        CONVERT,
        "forward",
        {"settings.taints.a": "x", "settings.taints.b": ["y"], "settings.tain": "z"},
        {"settings.taints.a": ["x"], "settings.taints.b": ["y"], "settings.tain": "z"},
    ),
    Case(
        "lists become their first element",
        CONVERT,
        "backward",
        {"settings.taints.a": ["x", "y"], "settings.taints.b": [], "settings.taints.c": "z"},
        {"settings.taints.a": "x", "settings.taints.c": "z"},
    ),
    Case(
        "numbers become strings",
        TO_STRING,
        "backward",
        {"settings.high": 85},
        {"settings.high": "85"},
    ),
    Case("or stay as they are", TO_STRING, "forward", {"settings.high": 85}, {"settings.high": 85}),
    Case("one way", ONLY_FORWARD, "forward", {"settings.src": "v1"}, {"settings.src": "v2"}),
    Case(
        "not the other",
        ONLY_FORWARD,
        "backward",
        {"settings.src": "v2"},
        {"settings.src": "v2"},
    ),
    Case(
        "a template, and what it makes",
        TEMPLATE,
        "forward",
        {"settings.region": "us-west-2", "settings.src": "329.dkr.ecr.us-west-2/admin:v1"},
        {"settings.region": "us-west-2", "settings.src": "329.dkr.ecr.us-west-2/admin:v2"},
        {"settings.src": {"template": OLD_TEMPLATE}},
        {"settings.src": {"template": NEW_TEMPLATE}},
    ),
    Case(
        "a template back, by the default",
        TEMPLATE,
        "backward",
        {"settings.region": "xx", "settings.src": "328.dkr.ecr.us-east-1/admin:v2"},
        {"settings.region": "xx", "settings.src": "328.dkr.ecr.us-east-1/admin:v1"},
        {"settings.src": {"template": NEW_TEMPLATE}},
        {"settings.src": {"template": OLD_TEMPLATE}},
    ),
    Case(
        "somebody's own value outlives its template",
        TEMPLATE,
        "forward",
        {"settings.region": "us-west-2", "settings.src": "mine"},
        {"settings.region": "us-west-2", "settings.src": "mine"},
        {"settings.src": {"template": OLD_TEMPLATE}},
        {"settings.src": {"template": NEW_TEMPLATE}},
    ),
    Case(
        "another template is left alone",
        TEMPLATE,
        "forward",
        {"settings.region": "us-west-2", "settings.src": "329.dkr.ecr.us-west-2/admin:v1"},
        {"settings.region": "us-west-2", "settings.src": "329.dkr.ecr.us-west-2/admin:v1"},
        {"settings.src": {"template": "another"}},
        {"settings.src": {"template": "another"}},
    ),
    Case(
        "a template without its settings makes nothing",
        TEMPLATE,
        "forward",
        {"settings.src": "/admin:v1"},
        {"settings.src": "/admin:v1"},
        {"settings.src": {"template": OLD_TEMPLATE}},
        {"settings.src": {"template": NEW_TEMPLATE}},
    ),
    Case(
        "a template of a setting that has no value stays",
        TEMPLATE,
        "forward",
        metadata_before={"settings.src": {"template": OLD_TEMPLATE}},
        metadata_after={"settings.src": {"template": OLD_TEMPLATE}},
    ),
    Case(
        "a generator's command line",
        SCHNAUZER,
        "forward",
        {"settings.r": "x", "settings.src": "328/c:v1"},
        {"settings.r": "x", "settings.src": "328/c:v2"},
        {"settings.src": {"setting-generator": OLD_LINE}},
        {"settings.src": {"setting-generator": NEW_LINE}},
    ),
    Case("nothing at all", '[[steps]]\nkind = "no-op"', "forward", {"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.story)
def test_step(case: Case) -> None:
    migration = data_migration.parse("m.toml", case.document.encode())
    each = tree(case.before, case.metadata_before)
    run = migration.forward if case.direction == "forward" else migration.backward
    run(each)
    assert plain(each) == case.after
    assert plain_metadata(each) == case.metadata_after


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_list_that_cannot_be_compared_fails_the_migration(direction: str) -> None:
    """As Bottlerocket: a list that holds a number is not a list of strings to be compared."""
    each = tree({"hi": ["there", 0]})
    migration = data_migration.parse("m.toml", ONE_LIST.encode())
    with pytest.raises(StepFailed, match="hi is a list that holds something else than strings"):
        getattr(migration, direction)(each)
    lists = data_migration.parse("m.toml", METADATA_LISTS.encode())
    each = tree({}, {"greeting": {"hi": [0]}})
    with pytest.raises(StepFailed, match="metadata hi of greeting"):
        getattr(lists, direction)(each)


def test_a_generated_setting_must_be_a_string() -> None:
    each = tree({"settings.src": 1}, {"settings.src": {"template": OLD_TEMPLATE}})
    with pytest.raises(StepFailed, match="is not a string"):
        data_migration.parse("m.toml", TEMPLATE.encode()).forward(each)


def test_steps_run_in_order_and_back_in_reverse() -> None:
    document = """
[[steps]]
kind = "rename-settings"
from = "settings.a"
to = "settings.b"

[[steps]]
kind = "replace-string"
setting = "settings.b"
old = "x"
new = "y"
"""
    migration = data_migration.parse("m.toml", document.encode())
    each = tree({"settings.a": "x"})
    migration.forward(each)
    assert plain(each) == {"settings.b": "y"}
    migration.backward(each)
    assert plain(each) == {"settings.a": "x"}


def test_several_in_one_step_go_back_in_reverse() -> None:
    document = """
[[steps]]
kind = "replace-string"
items = [
  { setting = "s", old = "1", new = "2" },
  { setting = "s", old = "2", new = "3" },
]
"""
    migration = data_migration.parse("m.toml", document.encode())
    each = tree({"s": "1"})
    migration.forward(each)
    assert plain(each) == {"s": "3"}
    migration.backward(each)
    assert plain(each) == {"s": "1"}
