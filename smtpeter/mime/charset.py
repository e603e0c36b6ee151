"""What is known of charsets: whether octets can be edited as they are, or have to be decoded and encoded again."""

from __future__ import annotations

from typing import NamedTuple


class Charset(NamedTuple):
    """``codec`` is Python's name for it.

    ``in_octets``: whatever is not ASCII has the high bit set, so that octets can be edited as if they were ASCII.
    ``in_line``: ASCII text can be put between other text as it is, once that has been encoded on its own.
    """

    codec: str
    in_octets: bool
    in_line: bool = True


def find_charset(label: bytes) -> Charset | None:
    """The charset with this name in MIME, without case; None where it is not known.  No name is US-ASCII.

    Where everybody means more by a name than it says, that is what is answered: GBK for gb2312, for example.
    """
    return _CHARSETS.get(label.strip(b"'\" ").decode("ascii", "replace").lower())


_IN_OCTETS = {
    "ascii": "us-ascii ascii ansi_x3.4-1968 iso646-us us cp367 ibm367",
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8",
    **{
        f"iso8859-{number}": f"iso-8859-{number} iso8859-{number} iso_8859-{number} iso8859_{number} latin{latin}"
        for number, latin in ((1, 1), (2, 2), (3, 3), (4, 4), (9, 5), (10, 6), (13, 7), (14, 8), (15, 9), (16, 10))
    },
    "iso8859-5": "iso-8859-5 iso8859-5 iso_8859-5 cyrillic",
    "iso8859-6": "iso-8859-6 iso8859-6 iso_8859-6 iso-8859-6-i iso-8859-6-e arabic",
    "iso8859-7": "iso-8859-7 iso8859-7 iso_8859-7 greek",
    "iso8859-8": "iso-8859-8 iso8859-8 iso_8859-8 iso-8859-8-i iso-8859-8-e hebrew",
    "iso8859-11": "iso-8859-11 iso8859-11",
    **{f"cp{number}": f"windows-{number} cp{number} x-cp{number}" for number in range(1250, 1259)},
    **{f"cp{number}": f"cp{number} ibm{number}" for number in (437, 850, 852, 855, 858, 862, 866)},
    "cp874": "windows-874 cp874",
    "tis-620": "tis-620",
    "koi8-r": "koi8-r koi8r",
    "koi8-u": "koi8-u",
    "mac-roman": "macintosh mac x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic",
    "mac-latin2": "x-mac-ce",
    "euc_jp": "euc-jp x-euc-jp eucjp",
    "euc_kr": "euc-kr euckr",
}
_DECODED = {
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji windows-31j cp932",
    "gbk": "gb2312 gb_2312-80 csgb2312 euc-cn gbk cp936 windows-936 ms936",
    "gb18030": "gb18030",
    "cp950": "big5 cn-big5 x-x-big5 cp950",
    "big5hkscs": "big5-hkscs",
    "cp949": "ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean windows-949 cp949 uhc",
    "johab": "johab",
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "iso2022_jp_1": "iso-2022-jp-1",
    "iso2022_jp_2": "iso-2022-jp-2",
    "iso2022_jp_3": "iso-2022-jp-3",
    "iso2022_jp_2004": "iso-2022-jp-2004",
    "iso2022_jp_ext": "iso-2022-jp-ext",
}
_DECODED_WHOLE = {
    "iso2022_kr": "iso-2022-kr",
    "hz": "hz-gb-2312 hz",
    "utf-7": "utf-7 utf7 unicode-1-1-utf-7",
    "utf-16": "utf-16 utf16",
    "utf-16-be": "utf-16be",
    "utf-16-le": "utf-16le",
    "utf-32": "utf-32 utf32",
    "utf-32-be": "utf-32be",
    "utf-32-le": "utf-32le",
}
_CHARSETS = {
    "": Charset("ascii", True),
    **{label: Charset(codec, True) for codec, labels in _IN_OCTETS.items() for label in labels.split()},
    **{label: Charset(codec, False) for codec, labels in _DECODED.items() for label in labels.split()},
    **{label: Charset(codec, False, False) for codec, labels in _DECODED_WHOLE.items() for label in labels.split()},
}
_BYTE_ORDERS = {
    "utf-16": ((b"\xff\xfe", "utf-16-le"), (b"", "utf-16-be")),
    "utf-32": ((b"\xff\xfe\0\0", "utf-32-le"), (b"", "utf-32-be")),
}


def decode_exactly(octets: bytes, charset: Charset) -> tuple[str, str] | None:
    """The text, and the codec that makes exactly these octets of it again; None where there is none.

    A mark of the byte order stays in the text (RFC 2781 section 3.3, 4.3).
    """
    codec = charset.codec
    for mark, ordered in _BYTE_ORDERS.get(codec, ()):
        if octets.startswith(mark):
            codec = ordered
            break
    try:
        text = octets.decode(codec)
        return (text, codec) if text.encode(codec) == octets else None
    except UnicodeError:
        return None
