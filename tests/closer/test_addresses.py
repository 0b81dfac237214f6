"""Where a subscription may send us, and where not: as it is written, and as a name leads."""

from ipaddress import ip_address

import pytest

from services.closer.addresses import NOTHING, Allowed, is_public, may_connect, url_issue
from shared.errors import Misuse

# Special addresses by IANA's registries, in every form in which one can be reached.
INWARD = [
    "10.254.0.0", "192.168.10.65", "172.16.10.65", "0.1.2.3", "0.0.0.0", "127.0.0.1", "127.254.254.254",
    "169.254.169.254", "255.255.255.255", "224.1.2.3", "233.252.0.16", "192.0.0.0", "192.0.0.255",
    "192.0.2.255", "198.51.100.65", "203.0.113.6", "100.100.0.0", "192.88.99.3", "198.18.0.0",
    "240.240.240.240", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.1", "::ffff:10.0.0.1", "2001:db8::1",
    "3fff::dead:beef", "fe80::1", "febf:ffff::1", "fdee:3a45:9057::1", "2002:c0a8:1::1", "2002:7f00:1::",
    "64:ff9b::c0a8:0", "64:ff9b::7f00:1", "64:ff9b:1::1", "5f00::1", "ff02::1", "::127.0.0.1", "fec0::1",
    "100::1", "192.0.0.9", "2001::1", "2001:20::1", "169.254.170.2", "fd00:ec2::254",
]  # fmt: skip
OUTWARD = ["1.1.1.1", "8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("address", INWARD)
def test_an_address_that_is_not_plainly_public_is_refused_however_it_is_met(address: str) -> None:
    assert not is_public(ip_address(address))
    assert may_connect("hooks.example.com", [address], NOTHING) == address
    written = f"[{address}]" if ":" in address else address
    assert "no public address" in (url_issue(f"https://{written}/hook", NOTHING) or "")


@pytest.mark.parametrize("address", OUTWARD)
def test_a_public_address_is_taken(address: str) -> None:
    assert is_public(ip_address(address))
    assert may_connect("hooks.example.com", [address], NOTHING) is None
    written = f"[{address}]" if ":" in address else address
    assert url_issue(f"https://{written}/hook", NOTHING) is None


def test_one_bad_address_among_good_ones_spoils_them_all() -> None:
    assert may_connect("hooks.example.com", ["8.8.8.8", "2606:4700::1111", "10.0.0.1"], NOTHING) == "10.0.0.1"
    assert may_connect("hooks.example.com", ["8.8.8.8", "::1"], NOTHING) == "::1"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://127.1/", "has no host"),
        ("https://0x7f000001/", "has no host"),
        ("https://0x7f.0.0.1/", "has no host"),
        ("https://0177.0.0.1/", "has no host"),
        ("https://2130706433/", "has no host"),
        ("https://017700000001/", "has no host"),
        ("https://example.0x7f/", "has no host"),
        ("https://①②⑦.0.0.1/", "plain ASCII"),
        ("https://пример.example/", "plain ASCII"),
        ("https://[::ffff:7f00:1]/", "no public address"),
        ("https://[fe80::1%25lo]/", "is no address"),
        ("https://[example.com]/", "is no address"),
        ("https://localhost/", "a name of this network alone"),
        ("https://localhost./", "a name of this network alone"),
        ("https://127.0.0.1./", "no public address"),
        ("https://user:p@127.0.0.1/", "no name or password"),
        ("https://user@hooks.example.com/", "no name or password"),
        ("https://127.0.0.1\\@example.com/", "is no address"),
        ("https://example.com#@127.0.0.1/", "no #"),
        ("https://exa%6dple.com/", "has no host"),
        ("https:///hook", "has no host"),
        ("https://hooks.example.com:6379/", "names port 6379"),
        ("https://hooks.example.com:22/", "names port 22"),
        ("https://hooks.example.com:99999/", "is no address"),
        ("https://hooks.example.com:25x/", "is no address"),
        ("http://hooks.example.com/", "must begin with https://"),
        ("ftp://hooks.example.com/", "must begin with https://"),
        ("gopher://x.example.com/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("hooks.example.com/x", "must begin with https://"),
        ("https://hooks.example.com/a b", "plain ASCII"),
        ("https://hooks.example.com/\r\nHost: x", "plain ASCII"),
        ("https://hooks.example.com/" + "x" * 2048, "is no address"),
        ("", "is no address"),
    ],
)
def test_what_is_written_is_refused_with_what_to_do(url: str, says: str) -> None:
    assert says in (url_issue(url, NOTHING) or "it was taken")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/a/b?c=d",
        "https://hooks.example.com:443/",
        "https://hooks.example.com:8443/",
        "https://xn--e1afmkfd.example/hook",
        "https://HOOKS.example.com/",
        "https://8.8.8.8/hook",
    ],
)
def test_a_public_address_with_https_is_taken(url: str) -> None:
    assert url_issue(url, NOTHING) is None


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("http://hooks.corp.example/x", True),
        ("http://hooks.corp.example:9000/x", True),
        ("http://other.corp.example/x", False),
        ("http://a.b.internal.example/x", True),
        ("http://internal.example/x", True),
        ("http://evilinternal.example/x", False),
        ("http://10.1.2.3:8080/x", True),
        ("https://10.2.0.1/x", False),
        ("http://[fd00::5]/x", True),
        ("http://[::ffff:10.1.2.3]/x", True),
        ("http://localhost:1234/", True),
        ("http://127.1/", False),
        ("http://user:p@hooks.corp.example/", False),
    ],
)
def test_what_an_operator_allows_is_taken_and_no_more(url: str, taken: bool) -> None:
    allowed = Allowed.read("hooks.corp.example, .internal.example,10.1.0.0/16,fd00::/8,localhost")
    assert (url_issue(url, allowed) is None) is taken


def test_a_name_that_is_allowed_may_lead_within_and_so_may_any_into_a_network_that_is() -> None:
    allowed = Allowed.read("hooks.corp.example,10.1.0.0/16")
    assert may_connect("hooks.corp.example", ["10.9.9.9"], allowed) is None
    assert may_connect("any.example", ["10.1.9.9"], allowed) is None
    assert may_connect("any.example", ["10.9.9.9"], allowed) == "10.9.9.9"


@pytest.mark.parametrize("text", ["10.1.0.1/16", "*", "http://x", "127.1", "a b", "0x7f000001"])
def test_what_is_allowed_must_be_a_name_or_a_network(text: str) -> None:
    with pytest.raises(Misuse, match="CLOSER_WEBHOOK_ALLOW"):
        Allowed.read(text)


def test_what_another_process_may_allow_is_left_to_it_and_nothing_else() -> None:
    assert url_issue("http://hooks.corp.example:9000/", None) is None
    assert url_issue("https://10.0.0.1/", None) is None
    assert url_issue("https://2130706433/", None) is not None
    assert url_issue("gopher://hooks.corp.example/", None) is not None
