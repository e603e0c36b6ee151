"""Says that what ``mime/editing.py`` offers is what features are promised; pure modules know nothing of interfaces."""

from __future__ import annotations

from zope.interface import classImplements

from smtpeter.interfaces import IEditableLeaf, IEditableMessage
from smtpeter.mime.editing import EditableMessage
from smtpeter.mime.leaf import EditableLeaf

__all__ = ["EditableLeaf", "EditableMessage"]

classImplements(EditableMessage, IEditableMessage)
classImplements(EditableLeaf, IEditableLeaf)
