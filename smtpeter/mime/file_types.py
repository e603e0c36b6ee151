"""Media types of files by their names: a table of our own, so that the same name means the same on every machine."""

from __future__ import annotations

UNKNOWN = "application/octet-stream"

_ENDINGS = {
    "application/gzip": "gz",
    "application/json": "json",
    "application/msword": "doc dot",
    "application/octet-stream": "bin exe dll",
    "application/pdf": "pdf",
    "application/pgp-encrypted": "pgp",
    "application/pgp-signature": "asc sig",
    "application/pkcs7-mime": "p7m",
    "application/pkcs7-signature": "p7s",
    "application/postscript": "ps eps ai",
    "application/rtf": "rtf",
    "application/vnd.apple.pkpass": "pkpass",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-outlook": "msg",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.rar": "rar",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-tar": "tar",
    "application/xml": "xml",
    "application/zip": "zip",
    "audio/aac": "aac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg oga",
    "audio/wav": "wav",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg jpeg jpe",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "message/rfc822": "eml",
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm",
    "text/javascript": "js",
    "text/markdown": "md",
    "text/plain": "txt text log ini conf",
    "text/vcard": "vcf",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg mpg",
    "video/quicktime": "mov",
    "video/webm": "webm",
}
_TYPES = {ending: type for type, endings in _ENDINGS.items() for ending in endings.split()}


def guess_type(name: str) -> str:
    """The media type that a file of this name has, as a rule."""
    _, dot, ending = name.rpartition(".")
    return _TYPES.get(ending.lower(), UNKNOWN) if dot else UNKNOWN
