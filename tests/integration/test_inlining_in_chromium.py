"""Inlined newsletters look in a browser exactly as they did before, on wide and on narrow screens."""

from __future__ import annotations

import json
import re
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest
from smtpeter.plugins.inlinecss import plugin

from tests.fakes.services import FakeServer
from tests.integration.tools import tool

NEWSLETTERS = sorted((Path(__file__).parents[1] / "corpus" / "newsletters").glob("*.html"))

# Both versions side by side; every property of every element is compared.
COMPARISON = """<!DOCTYPE html><body>
<iframe width=800 height=900 srcdoc="%(before)s"></iframe><iframe width=800 height=900 srcdoc="%(after)s"></iframe>
<iframe width=375 height=900 srcdoc="%(before)s"></iframe><iframe width=375 height=900 srcdoc="%(after)s"></iframe>
<pre id=result></pre><script>
addEventListener("load", () => {
  const found = {elements: 0, properties: 0, differences: []};
  const windows = [...document.querySelectorAll("iframe")].map(frame => frame.contentWindow);
  windows.forEach(each => each.document.getAnimations().forEach(animation => animation.finish()));
  for (const [old, fresh] of [windows.slice(0, 2), windows.slice(2)]) {
    const [before, after] = [old, fresh].map(each => [each.document.documentElement,
        ...each.document.querySelectorAll("body, body *:not(style)")]);
    if (before.length != after.length) found.differences.push([before.length, after.length]);
    before.forEach((element, i) => {
      const one = old.getComputedStyle(element), other = fresh.getComputedStyle(after[i]);
      found.elements++;
      for (const property of one) {
        found.properties++;
        if (one.getPropertyValue(property) != other.getPropertyValue(property) && found.differences.length < 50)
          found.differences.push([element.tagName, property,
              one.getPropertyValue(property), other.getPropertyValue(property)]);
      }
    });
  }
  document.querySelector("#result").textContent = JSON.stringify(found);
});
</script>"""


@pytest.fixture(scope="module")
def compare(tmp_path_factory):
    """What a browser finds when it compares two documents, 800 and 375 pixels wide."""
    chromium = tool("chromium")
    directory = tmp_path_factory.mktemp("chromium")
    known = {}  # both engines give the same text

    def compare(before, after):
        if (before, after) not in known:
            known[before, after] = look(before, after)
        return known[before, after]

    def look(before, after):
        page = directory / "page.html"
        page.write_text(COMPARISON % {"before": escape(before), "after": escape(after)}, "utf-8")
        output = subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={directory / 'profile'}",
                "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
            ],
            capture_output=True, text=True, timeout=180, check=True,
        ).stdout  # fmt: skip
        return json.loads(unescape(re.search(r'<pre id="result">(.*?)</pre>', output, re.DOTALL)[1]))

    return compare


def inlined(text, engine):
    return plugin.configure({"engine": engine}, FakeServer().services).inlined(text).text


@pytest.mark.parametrize("engine", ["premailer", "css-inline"])
@pytest.mark.parametrize("path", NEWSLETTERS, ids=lambda path: path.stem)
def test_it_looks_as_before(compare, path, engine):
    before = path.read_text("utf-8")
    after = inlined(before, engine)
    assert after != before
    found = compare(before, after)
    assert found["differences"] == []
    assert found["elements"] > 200 and found["properties"] > 50_000


def test_a_difference_is_found(compare):
    found = compare("<p style='color: red'>x</p>", "<p style='color: blue'>x</p>")
    assert ["P", "color", "rgb(255, 0, 0)", "rgb(0, 0, 255)"] in found["differences"]
