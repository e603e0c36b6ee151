"""Inlining style sheets opens no connection and reads no file, whatever the sheets say.

A process inlines them under strace, with every canary in view: a port that listens, and files that exist.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.integration.tools import tool

# Each has a canary %s: the address of a style sheet that is there, of a scheme of its own for every payload.
IMPORTS = [
    '@import "%s";',
    "@import '%s';",
    "@import url(%s);",
    '@import url("%s");',
    "@import url( '%s' ) screen;",
    '@IMPORT "%s";',
    '@ImPoRt URL("%s");',
    '@\\69mport "%s";',
    '@\\000069 mport "%s";',
    '@\\49 mport url(%s);',
    '@im\\port "%s";',
    '@\\i\\m\\p\\o\\r\\t "%s";',
    '@import/**/"%s";',
    '@/**/import "%s";',
    '/**/@import/*"*/ url(%s)/**/ ;',
    '@import "%s"',
    '@import\n\t"%s"\n;',
    '@import\x0c"%s";',
    '@charset "utf-8";@import "%s";',
    '@charset "utf-7";+AEA-import "%s";',
    '<!-- @import "%s"; -->',
    '--> @import "%s";',
    '<![CDATA[ @import "%s"; ]]>',
    '@media screen{@import "%s";}',
    '@media all{p{color:red}@import url(%s);}',
    '@supports (a:b){@import "%s";}',
    '@import "%s" layer(x) supports(display:grid);',
    '@import url(%s) supports((',
    'p{@import "%s";}',
    'p{color:red;@import "%s";color:blue}',
    '}@import "%s";',
    '{}@import "%s";',
    ');@import "%s";',
    '"\n@import "%s";',
    "'@import \"%s\";",
    'p{}\\@import "%s";',
    '\ufeff@import "%s";',
    '\x00@import "%s";',
    '@import\x00 "%s";',
    '@import "%s";@import "%s";',
    '@namespace url(%s);',
    '@namespace x "%s"; x|p{color:red}',
    '@font-face{font-family:x;src:url(%s)}',
    '@font-face{src:local(x),url("%s") format("woff")}',
    '@page{background:url(%s)}',
    '@counter-style x{system:cyclic;symbols:url(%s)}',
    '@document url(%s){p{color:red}}',
    '@unknown "%s" {p{color:red}}',
    'p{background:url(%s)}',
    'p{background:URL("%s")}',
    'p{background:u\\72l(%s)}',
    'p{background:image-set("%s" 1x)}',
    'p{behavior:url(%s);-moz-binding:url(%s#x)}',
    'p{width:expression(open("%s"))}',
    'p{filter:progid:DXImageTransform.Microsoft.AlphaImageLoader(src="%s")}',
    'p{content:attr(x url)} p[x="%s"]{color:red}',
    'p[x="@import \'%s\';"]{color:red}',
    'p:not(@import "%s";){color:red}',
    '@import "%s", p{color:red}',
    'p,@import "%s";{color:red}',
]  # fmt: skip
SHEETS = [f"<style>{each}</style>" for each in IMPORTS] + [
    '<link rel=stylesheet href="%s">',
    "<LINK REL='Alternate StyleSheet' type=text/css media=all HREF='%s'>",
    '<link rel="preload stylesheet" href="%s" as=style>',
    '<base href="%s"><link rel=stylesheet href=x.css>',
    '<?xml-stylesheet href="%s" type="text/css"?>',
    '<!DOCTYPE html SYSTEM "%s">',
    '<!DOCTYPE html [<!ENTITY x SYSTEM "%s"><!ENTITY %% y SYSTEM "%s">%%y;]><p>&x;</p>',
    '<style src="%s" href="%s"></style>',
    '<style type="text/css" data-premailer="load">@import "%s";</style>',
    '<style media="all">@import "%s";</style>',
    '<style><style>@import "%s";</style>',
    '<!--[if mso]><style>@import "%s";</style><link rel=stylesheet href="%s"><![endif]-->',
    '<!--[if !mso]><!--><style>@import "%s";</style><!--<![endif]-->',
    '<![if !mso]><link rel=stylesheet href="%s"><![endif]>',
    '<svg><style>@import "%s";</style><image href="%s"/><use href="%s#x"/></svg>',
    '<noscript><style>@import "%s";</style></noscript><template><link rel=stylesheet href="%s"></template>',
    '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="%s" parse="text"/>',
    "<p style=\"background:url(%s);@import '%s'\">x</p>",
    "<iframe src=%s></iframe><object data=%s></object><img src=%s><script src=%s></script>",
]

INLINE = """
import json, sys
from smtpeter.plugins.inlinecss import plugin
texts = json.load(open(sys.argv[1]))
features = {engine: plugin.configure({"engine": engine}, None) for engine in ("premailer", "css-inline")}
print(json.dumps({engine: [each.inlined(text).text for text in texts] for engine, each in features.items()}))
"""
UNGUARDED = """
import socket, sys
import cssutils
socket.setdefaulttimeout(2)  # nobody answers
for address in sys.argv[1:]:
    cssutils.parseString(f'@import "{address}";')
"""
LOOKING = "trace=%file,connect,sendto,sendmsg,sendmmsg"


class Canary:
    """Addresses of style sheets, each new, in a file or at a port that listens; and what a process did about them."""

    def __init__(self, directory: Path, listener: socket.socket) -> None:
        self._directory = directory
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._number = count(1)

    def address(self, kind: str) -> str:
        path = self._directory / f"canary-{next(self._number)}.css"
        path.write_text("p{margin:0}")
        web = f"127.0.0.1:{self._port}/{path.name}"
        return {"http": f"http://{web}", "//": f"//{web}", "file": path.as_uri(), "path": str(path)}[kind]

    def strace(self, script: str, *arguments: str) -> tuple[str, list[str]]:
        """What the script printed, and the system calls with which it looked at a canary."""
        trace = self._directory / "trace"
        done = subprocess.run(
            [
                *(tool("strace"), "-f", "-s", "400", "-o", str(trace), "-e", LOOKING),
                *(sys.executable, "-c", script, *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        signs = re.compile(rf"canary|htons\({self._port}\)|AF_INET6?\b")
        found = [line for line in trace.read_text("utf-8", "replace").splitlines() if signs.search(line)]
        self._listener.settimeout(0)
        try:
            found.append(f"accepted {self._listener.accept()[1]}")
        except BlockingIOError:
            pass
        return done.stdout, found


@pytest.fixture
def canary(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Canary(tmp_path, listener)


def test_nothing_is_fetched(canary, tmp_path):
    texts = []
    for sheet in SHEETS:
        for kind in ("http", "//", "file", "path"):
            places = sheet.replace("%%", "").count("%s")
            payload = sheet % tuple(canary.address(kind) for _ in range(places))
            texts.append(f"<style>i{{color:red}}</style>{payload}<i>x</i><p x=y>y</p>")
    (tmp_path / "texts").write_text(json.dumps(texts))
    output, found = canary.strace(INLINE, str(tmp_path / "texts"))
    assert found == []
    inlined = json.loads(output)
    assert len(SHEETS) > 70 and len(inlined["premailer"]) == len(texts)
    assert inlined["premailer"] == inlined["css-inline"]
    # All of this was really inlined, but for what is within an element that never ends.
    assert sum('<i style="color:red">x</i>' in text for text in inlined["premailer"]) == len(texts)


def test_what_imports_say_stays(canary):
    from smtpeter.plugins.inlinecss import plugin

    feature = plugin.configure({}, None)
    text = '<link rel=stylesheet href="%s"><style>@import "%s";i{color:red}</style><i>x</i>'
    text %= (canary.address("http"), canary.address("file"))
    assert feature.inlined(text).text == text.replace("i{color:red}", "").replace("<i>", '<i style="color:red">')


def test_the_canary_sings(canary):
    _, found = canary.strace(UNGUARDED, canary.address("http"))
    assert any("connect(" in line for line in found) and found[-1].startswith("accepted")
    _, found = canary.strace(UNGUARDED, canary.address("file"))
    assert any("canary" in line and "O_RDONLY" in line for line in found)
