import pytest

from tests.unit.cli.conftest import EMAIL


def test_block_list_unblock(gateway):
    gateway.add_account()
    id = gateway.enqueue("x@example.net")
    for option, value in (("account", EMAIL), ("submission", id), ("domain", "evil.example")):
        done = gateway.json("tracking", "block", f"--{option}", value)
        assert done == {"kind": option, "value": value, "blocked": True, "changed": True}
        assert gateway.json("tracking", "block", f"--{option}", value)["changed"] is False
    listed = gateway.json("tracking", "list")
    assert {(each["kind"], each["value"]) for each in listed} == {
        ("account", EMAIL), ("submission", id), ("domain", "evil.example"),
    }  # fmt: skip
    assert all(len(each["time"]) == 19 for each in listed)
    done = gateway.json("tracking", "unblock", "--domain", "evil.example")
    assert done == {"kind": "domain", "value": "evil.example", "blocked": False, "changed": True}
    assert gateway.json("tracking", "unblock", "--domain", "evil.example")["changed"] is False
    assert len(gateway.json("tracking", "list")) == 2


def test_people_read_sentences(gateway):
    id = gateway.enqueue("x@example.net")
    assert gateway.run("tracking", "list").stdout == "(none)\n"
    assert gateway.run("tracking", "block", "--domain", "evil.example").stdout == "links to evil.example are blocked\n"
    said = gateway.run("tracking", "block", "--domain", "evil.example").stdout
    assert said == "links to evil.example are blocked, as before\n"
    assert gateway.run("tracking", "unblock", "--submission", id).stdout == (
        f"links of submission {id} are not blocked, as before\n"
    )
    assert "evil.example" in gateway.run("tracking", "list").stdout


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("EVIL.Example.", "evil.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("0xc0000201", "192.0.2.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
    ],
)
def test_a_domain_is_kept_as_links_are_compared_with_it(gateway, given, value):
    assert gateway.json("tracking", "block", "--domain", given)["value"] == value


@pytest.mark.parametrize(
    "options",
    [(), ("--domain", "a.example", "--account", EMAIL), ("--domain", "not a domain"), ("--submission", "x")],
)
@pytest.mark.parametrize("verb", ["block", "unblock"])
def test_wrong_usage(gateway, verb, options):
    gateway.refused("tracking", verb, *options, code=2)


@pytest.mark.parametrize(
    "url",
    ["https://shop.example.com/buy", "http://user@shop.example.com:8080/", "HTTPS://Shop.Example.com", "//x.example"],
)
def test_an_address_of_a_page_is_no_domain(gateway, url):
    """It would be kept, and nothing blocked by it."""
    said = gateway.refused("tracking", "block", "--domain", url, code=2)
    assert "is not a domain" in said
    assert gateway.json("tracking", "list") == []


def test_who_gives_the_address_of_a_page_is_told_its_domain(gateway):
    said = gateway.refused("tracking", "block", "--domain", "https://me@Shop.example.com:8080/buy", code=2)
    assert "its domain is shop.example.com" in " ".join(said.split())


def test_a_recipients_id_is_not_enough(gateway):
    id = gateway.enqueue("x@example.net", "y@example.net")
    assert id in gateway.refused("tracking", "block", "--submission", f"{id}-2", code=2)


def test_an_account_that_is_not_there(gateway):
    assert "there is no account" in gateway.refused("tracking", "block", "--account", "nobody@example.com")
