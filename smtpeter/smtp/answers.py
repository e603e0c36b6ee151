"""What the server says where the words do not depend on the command."""

from __future__ import annotations

from smtpeter.model.reply import Reply
from smtpeter.smtp.data import DataFault

OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Ok")
START_DATA = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
AUTHENTICATED = Reply(235, "2.7.0", "Authentication successful")
TLS_REQUIRED = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_REQUIRED = Reply(530, "5.7.0", "Authentication required")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients; send to the others in another transaction")
HTTP_VERBS = frozenset(("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE"))
NOT_HTTP = Reply(221, "2.7.0", "This is an SMTP server, not a web server")

DATA_FAULTS = {
    DataFault.BARE_NEWLINE: Reply(
        550, "5.5.2", "The message holds a bare CR, a bare LF or a NUL; every line must end in CRLF"
    ),
    DataFault.TOO_LARGE: Reply(552, "5.3.4", "The message is larger than this server takes"),
    DataFault.LINE_TOO_LONG: Reply(554, "5.6.0", "A line of the message is longer than 65536 octets"),
}
