"""URLs that others name: whom they lead to, and what is asked there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.client import path, with_query
from federation.outbound.web_client import WebFailed, split_url


@pytest.mark.parametrize(
    ("url", "host_header", "tls_name", "port", "target"),
    [
        ("https://example.org", "example.org", "example.org", 443, "/"),
        ("https://EXAMPLE.org:443/a?b=c#d", "example.org", "example.org", 443, "/a?b=c"),
        ("https://a.example:5/a%20b/ü?q=%3F&x=ü", "a.example:5", "a.example", 5, "/a%20b/%C3%BC?q=%3F&x=%C3%BC"),
        ("https://[2001:db8::1]:5/", "[2001:db8::1]:5", "2001:db8::1", 5, "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", "xn--bcher-kva.example", 443, "/"),
    ],
)  # fmt: skip
def test_a_url_leads_to_its_host(url: str, host_header: str, tls_name: str, port: int, target: str) -> None:
    peer, found = split_url(url, plain_http=False)
    assert (peer.route.host_header, peer.route.tls_name, found) == (host_header, tls_name, target)
    assert [(each.host, each.port) for each in peer.route.targets] == [(tls_name, port)]
    assert peer.secure


def test_plain_http_is_for_those_who_ask_for_it() -> None:
    with pytest.raises(WebFailed):
        split_url("http://example.org/", plain_http=False)
    peer, _ = split_url("http://example.org/", plain_http=True)
    assert not peer.secure
    assert peer.route.targets[0].port == 80


@pytest.mark.parametrize(
    "url",
    ["", "example.org", "ftp://example.org/", "https://", "https:///x", "https://u:p@example.org/", "https://a:0/",
     "https://a:99999/", "https://a:x/", "https://[::1", "file:///etc/passwd", "https://" + "a" * 10_000],
)  # fmt: skip
def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(WebFailed):
        split_url(url, plain_http=True)


@given(st.text(max_size=40))
def test_no_url_can_put_anything_into_a_request_but_its_target(text: str) -> None:
    for url in (text, f"https://example.org/{text}", f"https://{text}/", f"https://example.org/?{text}"):
        try:
            peer, target = split_url(url, plain_http=True)
        except WebFailed:
            continue
        for part in (target, peer.route.host_header, peer.route.tls_name):
            assert part.isascii()
            assert not set(part) & set(" \r\n\t\0#")
        assert target.startswith("/")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT, TEXT)
def test_arguments_of_paths_and_queries_are_encoded_whole(argument: str, value: str) -> None:
    target = with_query(path("/a/{}/b", argument), {"q": value, "r": [value, "x"], "s": None, "t": False})
    assert target.isascii()
    assert not set(target) & set(" \r\n\t\0#")
    assert target.count("/") == 3
    assert target.count("?") == 1
    assert target.count("&") == 3
