"""The features that are there, in order and ready."""

from dataclasses import replace

import pytest
from zope.interface.verify import verifyObject

from smtpeter.auth.keys import KeyRing
from smtpeter.features.catalog import Catalog, find_features, load_catalog
from smtpeter.features.discovery import CatalogError
from smtpeter.features.services import services_of
from smtpeter.interfaces import IFeatureCatalog
from smtpeter.settings import Features, Settings

RING = KeyRing("1", {"1": b"1" * 32})
ALL = "IPreparingFeature, ICheckingFeature, IEnvelopeFeature, IPersonalizingFeature, IResourceFeature"
NAME = 'name = "NAME"'
OPTION = 'Option("NAME", "what it does")'
OPTIONS = f"options = ({OPTION},)"
WANTS = "    def wants(self, options):"
IS = "@implementer(IMessageFeature)"


def load(**features):
    settings = replace(Settings.default(), features=Features(**features))
    return load_catalog(settings, services_of(settings, RING))


def refused(look=load, **features):
    """What is wrong; one line, as most often."""
    with pytest.raises(CatalogError) as raised:
        look(**features)
    (problem,) = raised.value.problems
    assert str(raised.value) == problem
    assert "\n" not in problem
    return problem


def names(features):
    return [each.name for each in features]


def test_nothing_is_installed(modules):
    catalog = load()
    assert (catalog.features, catalog.disabled, list(catalog.options), dict(catalog.resources)) == ((), (), [], {})


@pytest.mark.parametrize("catalog", [Catalog(), None])
def test_it_is_what_it_says(modules, catalog):
    modules.write("a")
    verifyObject(IFeatureCatalog, catalog or load())


def test_features_run_in_the_order_that_they_say(modules):
    modules.write("a", ("after = ()", "after = ('c', 'not_installed')"))
    modules.write("b", ("before = ()", "before = ('a', 'c')"))
    modules.write("c")
    modules.write("d")
    assert names(load().features) == ["b", "c", "a", "d"]


def test_each_has_its_own_table_and_services(modules):
    a, _ = modules.write("a"), modules.write("b")
    catalog = load(tables={"a": {"key": 1}})
    first, second = catalog.features
    assert (first.name, first.plugin.name, first.origin) == ("a", "a", a)
    assert (dict(first.feature.section), dict(second.feature.section)) == ({"key": 1}, {})
    assert first.feature.services.key("x") != second.feature.services.key("x")


def test_a_disabled_one_is_neither_configured_nor_asked(modules):
    modules.write("a", ("return Feature(section, services)", "raise AssertionError"))
    modules.write("b")
    catalog = load(disabled=("a",), tables={"a": {"key": 1}})
    assert (names(catalog.features), names(catalog.disabled)) == (["b"], ["a"])
    assert catalog.canonical("a") is None
    assert catalog.known((("a", "true"), ("b", "true"))) == {"b": "true"}


# --- who wants a message ---


def test_who_has_an_ability_and_wants_these_options(modules):
    modules.write("a", (IS, f"@implementer({ALL})"))
    modules.write("b", (IS, "@implementer(IPreparingFeature)"))
    modules.write("c")
    catalog = load()
    a, b, _ = (each.feature for each in catalog.features)
    both = {"a": "true", "b": "true", "c": "true"}
    assert catalog.preparing(both) == (("a", a), ("b", b))
    assert catalog.preparing({"a": "false", "b": "true"}) == (("b", b),)
    assert catalog.checking(both) == catalog.enveloping(both) == (("a", a),)
    assert catalog.preparing({}) == catalog.checking({}) == catalog.enveloping({}) == ()
    assert (catalog.personalizing("a"), catalog.personalizing("b"), catalog.personalizing("x")) == (a, None, None)
    assert dict(catalog.resources) == {"a": a}


def test_one_may_want_mail_without_any_options(modules):
    modules.write("a", (IS, "@implementer(IPreparingFeature)"), ('return options.get("NAME") == "true"', "return True"))
    catalog = load()
    assert names_of(catalog.preparing({})) == names_of(catalog.preparing({"b": "true"})) == ["a"]


def names_of(pairs):
    return [name for name, _ in pairs]


def test_options_by_all_their_names(modules):
    modules.write("a", (OPTION, 'Option("NAME", "x", OptionKind.SWITCH, ("old_name",))'))
    catalog = load()
    assert (catalog.canonical("Old-Name"), catalog.canonical("A"), catalog.canonical("b")) == ("a", "a", None)
    assert catalog.read("a", "Yes") == "true"
    with pytest.raises(ValueError, match="write true or false"):
        catalog.read("a", "maybe")
    with pytest.raises(ValueError, match="no such option"):
        catalog.read("b", "true")


# --- what is refused ---


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("    before = ()\n", "", "plugin: IFeaturePlugin: before is missing"),
        ("def configure(self, section, services)", "def configure(self, section)", "plugin: IFeaturePlugin: configure"),
        ("    name = \"NAME\"\n", "", "plugin: IFeaturePlugin: name is missing"),
        (NAME, "name = 7", "plugin: name has to be small letters, digits and _, and is 7"),
        (NAME, "name = 'An-A'", "plugin: name has to be "),
        (NAME, "name = ''", "plugin: name has to be "),
        (NAME, "name = '\u0430bc'", "plugin: name has to be "),
        (NAME, "name = 'disabled'", "plugin: name cannot be 'disabled', which is a key of [features]"),
        (NAME, "name = 'workers'", "plugin: name cannot be 'workers', which is a key of [features]"),
        ("after = ()", "after = 'b'", "plugin: after has to be a tuple of names, and is 'b'"),
        ("after = ()", "after = ['b']", "plugin: after has to be a tuple of names, and is ['b']"),
        ("before = ()", "before = (1,)", "plugin: before has to be a tuple of names, and is (1,)"),
        (OPTIONS, "options = ('a',)", "plugin: options has to be a tuple of Op"),
        (OPTIONS, "options = None", "plugin: options has to be a tuple of Opt"),
        (OPTION, "Option('No-Way', 'x')", "plugin: this cannot be an option: Option(name"),
        (OPTION, "Option('a', 'x', 'switch')", "plugin: this cannot be an option: "),
        (OPTION, "Option('a', 'x\\ny')", "plugin: this cannot be an option: "),
        (OPTION, "Option('a', 'x', aliases='b')", "plugin: this cannot be an option: "),
        (OPTION, "Option('a', 'x', aliases=('B',))", "plugin: this cannot be an option: "),
        (
            "return Feature(section, services)", "return None",
            "feature a: configure gave back NoneType, which does not provide IMessageFeature",
        ),
        (IS, "@implementer(IPreparingFeature)\n# ", None),
        (WANTS, "    def want(self, options):", "feature a: IMessageFeature: wants is missing"),
        (WANTS, "    def wants(self):", "feature a: IMessageFeature: wants: "),
        ("return options.get", "return 1 / 0 #", "feature a cannot be configured: ZeroDivisionError"),
        ("return Feature(section, services)", "raise KeyError('x')", "feature a cannot be configured: KeyError: 'x'"),
    ],
)  # fmt: skip
def test_a_feature_that_is_not_one_is_told_with_its_file(modules, old, new, why):
    path = modules.write("a", (old, new))
    if why is None:
        load()
    else:
        assert refused().startswith(f"{path}: {why}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("def prepare(self, message, context)", "def prepared(self)"), "IPreparingFeature: prepare is missing"),
        (("on_failure = FailurePolicy.SEND", "on_failure = 'send'"), "on_failure has to be a FailurePolicy"),
        (("    on_failure = FailurePolicy.SEND\n", ""), "IPreparingFeature: on_failure is missing"),
        (("def serve(self, request)", "def serve(self)"), "IResourceFeature: serve: "),
        (("def values(self, keys, addressee)", "def values(self, keys)"), "IPersonalizingFeature: values: "),
        (("def check(self, summary, options)", "def check(self, x)"), "ICheckingFeature: check: "),
        (("def reverse_path(self", "def path(self"), "IEnvelopeFeature: reverse_path is missing"),
    ],
)  # fmt: skip
def test_an_ability_that_is_not_there_is_told(modules, change, why):
    path = modules.write("a", (IS, f"@implementer({ALL})"), change)
    assert refused().startswith(f"{path}: feature a: {why}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("level: is no number", "features.a: level: is no number"),
        ("features.a.level: is no number", "features.a.level: is no number"),
        ("level:\\nis no number", "features.a: level: is no number"),
    ],
)
def test_a_wrong_table_is_told_with_its_name(modules, text, told):
    modules.write("a", ("return Feature(section, services)", f"raise ConfigError('{text}')"))
    assert refused() == told


def test_all_that_cannot_be_configured_are_told_at_once(modules):
    for name in ("a", "b"):
        modules.write(name, ("return Feature(section, services)", "raise ConfigError('no')"))
    with pytest.raises(CatalogError) as raised:
        load()
    assert raised.value.problems == ("features.a: no", "features.b: no")


def test_two_features_of_one_name(modules):
    first, second = modules.write("a", file="one"), modules.write("a", file="two")
    assert refused() == f"{second}: there is a feature a in {first} already"


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("Option('a', 'x')", "the option a is one of feature a already"),
        ("Option('c', 'x', aliases=('b', 'a'))", "the option a is one of feature a already"),
        ("Option('c', 'x', aliases=('c',))", "the option c is one of feature b already"),
        ("Option('tags', 'x')", "the option tags is one of smtpeter itself already"),
        ("Option('c', 'x', aliases=('sendat',))", "the option sendat is one of smtpeter itself already"),
        ("Option('maxdelivertime', 'x')", "the option maxdelivertime is one of smtpeter itself already"),
        ("Option('images', 'x')", "the option images is one of smtpeter itself already"),
    ],
)
def test_two_options_of_one_name(modules, option, told):
    modules.write("a")
    path = modules.write("b", (OPTION, option))
    assert refused() == f"{path}: feature b: {told}"
    modules.write("c")
    assert names(load(disabled=("b",)).features) == ["a", "c"]


def test_a_circle_is_told_with_its_path_and_files(modules):
    a = modules.write("a", ("after = ()", "after = ('b',)"))
    b = modules.write("b", ("after = ()", "after = ('a',)"))
    assert refused() == f"features cannot be put in order: a before b before a (see after and before in {a}, {b})"
    assert names(load(disabled=("b",)).features) == ["a"]


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ({"disabled": ("inline",)}, "features.disabled: inline: there is no such feature (did you mean inlinecss?)"),
        ({"tables": {"inline": {}}}, "features.inline: there is no such feature (did you mean inlinecss?)"),
        ({"tables": {"x": {}}}, "features.x: there is no such feature (installed: a, inlinecss)"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_installed(modules, features, told):
    modules.write("inlinecss")
    modules.write("a")
    assert refused(**features) == told


def test_looking_configures_nothing(modules):
    modules.write("a", ("return Feature(section, services)", "raise AssertionError"))
    found = find_features(Features(disabled=()))
    assert names(found.features) == ["a"]
    assert [option.name for option in found.options] == ["a"]
