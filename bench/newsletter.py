"""A newsletter of about 50 KB, as agencies make them: tables, a style sheet, many links, and plain text beside it."""

from __future__ import annotations

from binascii import b2a_qp

ARTICLES = 31
MARK = "@@@@@@@@"

# ruff: noqa: E501 (style sheets are as they are)

STYLE = """
#outlook a { padding: 0; } .ExternalClass { width: 100%; } .ExternalClass p, .ExternalClass td { line-height: 100%; }
body { margin: 0; padding: 0; background-color: #f4f5f7; -webkit-text-size-adjust: 100%; -ms-text-size-adjust: 100%; }
body, table, td, p, a, li { font-family: Arial, Helvetica, sans-serif; -webkit-font-smoothing: antialiased; }
table { border-collapse: collapse; mso-table-lspace: 0pt; mso-table-rspace: 0pt; } td { vertical-align: top; }
img { border: 0; display: block; outline: none; text-decoration: none; -ms-interpolation-mode: bicubic; }
a { color: #0b63ce; text-decoration: none; } a:hover { text-decoration: underline; } a:visited { color: #0b63ce; }
a img { border: none; } .yshortcuts a { border-bottom: none; } .ReadMsgBody { width: 100%; } .hidden { display: none; }
p { margin: 0 0 12px 0; font-size: 15px; line-height: 22px; color: #33363d; } p.lead { font-size: 17px; }
h1 { font-size: 28px; line-height: 34px; color: #101828; margin: 0 0 16px 0; font-weight: bold; }
h2 { font-size: 19px; line-height: 25px; color: #101828 !important; margin: 0 0 8px 0; } h2 a { color: #101828; }
h3 { font-size: 16px; line-height: 22px; color: #344054; margin: 0 0 6px 0; } h4, h5, h6 { font-size: 14px; margin: 0; }
ul { margin: 0 0 12px 0; padding: 0 0 0 20px; } ol { margin: 0 0 12px 0; padding: 0 0 0 24px; } li { font-size: 15px; }
hr { border: 0; border-top: 1px solid #e4e7ec; margin: 16px 0; } blockquote { margin: 0; padding: 0 0 0 16px; }
strong { color: #101828; } em { color: #475467; } small { font-size: 12px; } sup { line-height: 0; } sub { line-height: 0; }
.wrapper { width: 100%; background-color: #f4f5f7; } .main { width: 600px; background-color: #ffffff; }
.header { padding: 24px 32px; background-color: #101828; } .header a { color: #ffffff; font-weight: bold; }
.header h1 { color: #ffffff; margin: 0; } .preheader { font-size: 1px; line-height: 1px; color: #f4f5f7; }
.hero { padding: 0; } .hero img { width: 600px; height: auto; } .hero .caption { font-size: 12px; padding: 8px 32px; }
.article { padding: 20px 32px; border-bottom: 1px solid #e4e7ec; } .article .meta { font-size: 12px; color: #667085; }
.article p { color: #344054; } .article table { width: 100%; } .article td { padding: 4px 8px 4px 0; }
.article.featured { background-color: #f9fafb; } .article.featured h2 { font-size: 24px; line-height: 30px; }
.button { display: inline-block; padding: 10px 18px; background-color: #0b63ce; color: #ffffff; border-radius: 4px; }
.button.secondary { background-color: #ffffff; color: #0b63ce; border: 1px solid #0b63ce; } .button.wide { width: 100%; }
td.price { font-weight: bold; color: #101828; white-space: nowrap; } td.price .old { text-decoration: line-through; }
td.image { width: 160px; padding-right: 16px; } td.image img { width: 160px; height: 107px; } .badge { font-size: 11px; }
.columns td { width: 50%; padding: 0 8px; } .columns td.first { padding-left: 0; } .columns td.last { padding-right: 0; }
.social { padding: 16px 32px; text-align: center; } .social a { display: inline-block; margin: 0 8px; } .center { text-align: center; }
.footer { padding: 24px 32px; background-color: #f9fafb; } .footer p { font-size: 12px; color: #667085; line-height: 18px; }
.footer a { color: #475467; text-decoration: underline; } .legal { font-size: 11px; } .legal p { font-size: 11px; }
.mt-0 { margin-top: 0; } .mt-16 { margin-top: 16px; } .mb-0 { margin-bottom: 0; } .mb-16 { margin-bottom: 16px; }
.p-0 { padding: 0; } .p-16 { padding: 16px; } .align-left { text-align: left; } .align-right { text-align: right; }
@media only screen and (max-width: 620px) { .main { width: 100% !important; } .article { padding: 16px !important; }
  .columns td { display: block !important; width: 100% !important; } .hero img { width: 100% !important; } }
@media (prefers-color-scheme: dark) { .main { background-color: #101828 !important; } p { color: #eaecf0 !important; } }
"""

ARTICLE = """
<tr><td class="article">
  <h2><a href="https://www.example.com/news/{n}/story?utm_source=letter&amp;utm_medium=mail&amp;id={n}">Story number {n}
  with a headline of the usual length</a></h2>
  <p class="meta">21 November 2026 &middot; by the editors &middot; 4 minutes</p>
  <p>For {mark} we looked at what people asked for in the {n}. week: the quick brown fox jumps over the lazy dog, and it
  does so again and again, until the paragraph has the length that an editor gives to a teaser. Na&iuml;ve caf&eacute;
  owners will enjoy it too, and so will everybody who likes a second sentence of moderate length in the same place.</p>
  <p>There is more behind it than one would think at first: figures, a map, and what those who were there have to say.
  We asked seven of them, and none gave the same answer; all agreed that it was worth the time and the trouble.</p>
  <table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr>
    <td class="image"><img src="https://cdn.example.com/letters/2026-11/story-{n}.jpg" width="160" height="107" alt="Story {n}"></td>
    <td class="price">EUR {n},90</td>
    <td><a class="button" href="https://shop.example.com/item/{n}?ref=letter&amp;campaign=autumn">Read more</a></td>
  </tr></table>
</td></tr>
"""


def newsletter_html(mark: str = MARK, more: str = "") -> str:
    """The HTML; ``mark`` stands in each article, so that no two need be the same, and ``more`` behind them."""
    articles = "".join(ARTICLE.format(n=number, mark=mark) for number in range(ARTICLES))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Letter</title><style>{STYLE}</style></head>\n'
        '<body><!--[if mso]><table width="600"><tr><td><![endif]--><table class="wrapper" role="presentation"><tr><td>\n'
        '<table class="main" role="presentation"><tr><td class="header"><h1><a href="https://www.example.com/">The Letter'
        f'</a></h1></td></tr>{articles}{more}<tr><td class="footer"><p>You get this because you asked for it. '
        '<a href="https://www.example.com/unsubscribe?u=1">Unsubscribe</a></p></td></tr></table></td></tr></table>'
        "<!--[if mso]></td></tr></table><![endif]--></body></html>\n"
    )


def newsletter(mark: str = MARK, fields: str = "", more: str = "") -> bytes:
    """The whole message, canonical; ``fields`` are further header fields, each ended by CRLF."""
    html = b2a_qp(newsletter_html(mark, more).encode("utf-8").replace(b"\n", b"\r\n"))
    text = "".join(f"Story number {number}: https://www.example.com/news/{number}\r\n" for number in range(ARTICLES))
    return (
        f"From: The Letter <letter@example.com>\r\nTo: Reader <reader@example.net>\r\nSubject: The Letter\r\n"
        f"Date: Sat, 21 Nov 2026 06:00:00 +0000\r\nMessage-ID: <letter@example.com>\r\nMIME-Version: 1.0\r\n{fields}"
        'Content-Type: multipart/alternative; boundary="=_letter"\r\n\r\n'
        "--=_letter\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text +
        "--=_letter\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    ).encode("ascii") + html + b"\r\n--=_letter--\r\n"  # fmt: skip
