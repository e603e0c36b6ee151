"""What well-known providers answer, one line each and in few words: what it means, and what is done about it.

Codes and the words that tell are theirs, as their pages or the logs of senders show them.
"""

# ruff: noqa: E501 (each answer is one line)

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from smtpeter.delivery import classify, shaping
from smtpeter.delivery.shaping import Action
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind

HARD, SOFT = FailureKind.RECIPIENT_HARD, FailureKind.RECIPIENT_SOFT
REPUTATION, CONTENT, POLICY = FailureKind.REPUTATION, FailureKind.CONTENT, FailureKind.POLICY
NETWORK, CONFIGURATION = FailureKind.NETWORK, FailureKind.CONFIGURATION
SLOW, PAUSE = Action.SLOW, Action.PAUSE_SOURCE

ANSWERS = [
    # Google: support.google.com/a/answer/3726730
    ("google", 421, "4.7.28", "end", "[192.0.2.1 19] Gmail saw an unusual rate of email originating from your IP address 192.0.2.1: rate limited. gsmtp", REPUTATION, SLOW),
    ("google", 421, "4.7.28", "end", "Gmail saw an unusual rate of unsolicited email originating from your IP Netblock: rate limited. gsmtp", REPUTATION, SLOW),
    ("google", 421, "4.7.28", "end", "Gmail saw an unusual rate of email. It is rate limited. gsmtp", REPUTATION, SLOW),
    ("google", 421, "4.7.28", "end", "unusual amount of unsolicited email originating from your IP address: temporarily blocked. gsmtp", REPUTATION, SLOW),
    ("google", 421, "4.7.28", "end", "unusual rate of unsolicited email originating from your DKIM domain example.com: rate limited. gsmtp", POLICY, None),
    ("google", 421, "4.7.28", "end", "unusual rate of unsolicited email originating from your SPF domain example.com: rate limited. gsmtp", POLICY, None),
    ("google", 421, "4.7.28", "end", "unusual rate of unsolicited email containing one of your URL domains: rate limited. gsmtp", CONTENT, None),
    ("google", 421, "4.7.28", "end", "this sender exceeded the quota for messages that have the same Message-ID. gsmtp", CONTENT, None),
    ("google", 421, "4.7.0", "end", "This message is suspicious due to the very low reputation of the sending IP address: rate limited. gsmtp", REPUTATION, SLOW),
    ("google", 550, "5.7.1", "end", "[192.0.2.1] This message is likely suspicious due to the very low reputation of the sending IP address. gsmtp", REPUTATION, None),  # an administrator may say it too
    ("google", 421, "4.7.0", "end", "This message is suspicious due to the very low reputation of the sending domain. gsmtp", POLICY, None),
    ("google", 421, "4.7.0", "end", "This message is suspicious due to the nature of the content or the links within. gsmtp", CONTENT, None),
    ("google", 550, "5.7.1", "end", "This message is likely unsolicited email; it has been blocked. gsmtp", CONTENT, None),
    ("google", 451, "4.7.23", "end", "The sending IP address doesn't have a PTR record, or it doesn't match: rate limited. gsmtp", REPUTATION, None),
    ("google", 550, "5.7.25", "end", "The sending IP address doesn't have a PTR record. gsmtp", REPUTATION, None),
    ("google", 550, "5.7.1", "end", "This message does not meet IPv6 sending guidelines regarding PTR records and authentication. gsmtp", REPUTATION, None),
    ("google", 421, "4.7.26", "end", "Rate limited because it is unauthenticated: DKIM = did not pass, SPF example.com = did not pass. gsmtp", POLICY, None),
    ("google", 421, "4.7.27", "end", "Rate limited because SPF didn't pass. gsmtp", POLICY, None),
    ("google", 421, "4.7.29", "end", "Rate limited because this was not sent over TLS. gsmtp", POLICY, None),
    ("google", 421, "4.7.30", "end", "Rate limited because DKIM didn't pass. gsmtp", POLICY, None),
    ("google", 421, "4.7.32", "end", "Rate limited because the From: header isn't aligned. gsmtp", POLICY, None),
    ("google", 421, "4.7.40", "end", "Rate limited because the sending domain has no DMARC record. gsmtp", POLICY, None),
    ("google", 550, "5.7.26", "end", "Unauthenticated email from example.com is not accepted due to its DMARC policy. gsmtp", POLICY, None),
    ("google", 421, "4.7.0", "rcpt", "IP not in whitelist for RCPT domain, closing connection. gsmtp", POLICY, None),
    ("google", 421, "4.7.0", "hello", "Try again later, closing connection. (EHLO) gsmtp", POLICY, SLOW),
    ("google", 421, "4.4.5", "hello", "Server busy, try again later. gsmtp", NETWORK, SLOW),
    ("google", 450, "4.2.1", "rcpt", "The user you write to is receiving mail too quickly. gsmtp", SOFT, None),
    ("google", 452, "4.2.2", "rcpt", "The recipient's inbox is out of storage space. gsmtp", SOFT, None),
    ("google", 550, "5.7.1", "end", "The user or domain that you are sending to has a policy that prohibits the email. - gcdp x - gsmtp", POLICY, None),
    ("google", 550, "5.7.1", "end", "We of example.com think that your IP is listed in a block list - gcdp x - gsmtp", REPUTATION, None),  # an administrator's own words stop nobody else
    # Outlook.com: sendersupport.olc.protection.outlook.com/pm/troubleshooting
    ("outlook.com", 550, "5.7.1", "mail", "messages from [192.0.2.1] weren't sent: part of their network is on our block list (S3140).", REPUTATION, PAUSE),
    ("outlook.com", 550, "5.7.1", "mail", "messages from [192.0.2.1] weren't sent: part of their network is on our block list (S3150).", REPUTATION, PAUSE),
    ("outlook.com", 550, "5.7.1", "mail", "Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. (AS16012611)", REPUTATION, PAUSE),
    ("outlook.com", 550, "5.7.1", "mail", "Service unavailable, Helo domain is listed in Spamhaus. (S8001)", REPUTATION, PAUSE),
    ("outlook.com", 550, "5.7.1", "mail", "Service unavailable, MailFrom domain is listed in Spamhaus. To request removal see https://www.spamhaus.org/query/lookup/ (S8002)", POLICY, None),
    ("outlook.com", 451, "4.7.650", "mail", "The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)", REPUTATION, SLOW),
    ("outlook.com", 451, "4.7.651", "mail", "The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.", REPUTATION, SLOW),
    ("outlook.com", 451, "4.7.652", "mail", "The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)", REPUTATION, SLOW),
    ("outlook.com", 421, "", "mail", "RP-001 The server IP has exceeded the rate limit allowed.", REPUTATION, SLOW),
    ("outlook.com", 421, "", "mail", "RP-003 The server IP has exceeded the connection limit allowed.", REPUTATION, SLOW),
    ("outlook.com", 550, "", "mail", "SC-001 Mail rejected for policy reasons.", REPUTATION, None),  # for its content, or for our address
    ("outlook.com", 550, "", "mail", "SC-004 Mail rejected for policy reasons: complaints.", REPUTATION, PAUSE),
    ("outlook.com", 550, "", "mail", "DY-001 Mail rejected for policy reasons: dynamic.", REPUTATION, PAUSE),
    ("outlook.com", 550, "", "mail", "OU-001 Mail rejected for policy reasons: Spamhaus.", REPUTATION, PAUSE),
    ("outlook.com", 550, "5.7.515", "end", "Access denied, sending domain example.com doesn't meet the required authentication level.", POLICY, None),
    ("outlook.com", 550, "5.5.0", "rcpt", "Requested action not taken: mailbox unavailable (S2017062302).", HARD, None),
    # Exchange Online: learn.microsoft.com, "Email non-delivery reports and SMTP errors"
    ("office365", 550, "5.7.606", "mail", "Access denied, banned sending IP [192.0.2.1]. (AS16012609)", REPUTATION, PAUSE),
    ("office365", 550, "5.7.649", "rcpt", "Access denied, banned sending IP [192.0.2.1].", REPUTATION, PAUSE),
    ("office365", 550, "5.7.511", "mail", "Access denied, banned sender[192.0.2.1]. AS(508)", REPUTATION, PAUSE),
    ("office365", 550, "5.7.1", "rcpt", "Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. (AS16012611)", REPUTATION, PAUSE),
    ("office365", 550, "5.7.1", "rcpt", "Service unavailable, Client host [192.0.2.1] blocked by example.com using Customer Block list (AS16012607)", POLICY, None),
    ("office365", 550, "5.7.513", "rcpt", "Service unavailable, Client host [192.0.2.1] blocked by example.com using Customer Block list (AS16012607)", POLICY, None),
    ("office365", 550, "5.7.507", "rcpt", "Access denied, rejected by recipient", POLICY, None),
    ("office365", 550, "5.7.506", "mail", "Access denied, bad HELO", REPUTATION, None),
    ("office365", 550, "5.7.510", "rcpt", "Access denied, example.com does not accept email over IPv6", REPUTATION, None),
    ("office365", 550, "5.7.509", "end", "Access denied, sending domain example.com does not pass DMARC verification", POLICY, None),
    ("office365", 451, "4.7.500", "rcpt", "Server busy. Please try again later from [192.0.2.1]. (AS77712344)", REPUTATION, SLOW),
    ("office365", 451, "4.7.850", "mail", "Access denied, please try again later", REPUTATION, SLOW),
    ("office365", 421, "4.3.2", "mail", "The maximum number of concurrent connections per resource forest has exceeded a limit", REPUTATION, SLOW),
    ("office365", 450, "4.7.3", "rcpt", "Organization queue quota exceeded.", SOFT, None),
    ("office365", 554, "5.2.122", "rcpt", "The recipient has exceeded their limit for the number of messages they can receive per hour.", SOFT, None),
    ("office365", 550, "5.4.1", "rcpt", "[a@example.com]: Recipient address rejected: Access denied. AS(201806281)", HARD, None),
    ("office365", 550, "5.7.1", "end", "We of example.com say that your IP is on our block list (S3150)", REPUTATION, None),  # an administrator's own words stop nobody else
    # Yahoo, AOL: senders.yahooinc.com/smtp-error-codes; logs of senders
    ("yahoo", 421, "4.7.0", "mail", "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1", REPUTATION, SLOW),
    ("yahoo", 421, "4.7.0", "greeting", "[TS01] Messages from 192.0.2.1 temporarily deferred due to user complaints", REPUTATION, SLOW),
    ("yahoo", 421, "4.7.0", "mail", "[TSS05] Messages from 192.0.2.1 temporarily deferred", REPUTATION, SLOW),
    ("yahoo", 421, "4.7.1", "greeting", "[TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.", REPUTATION, PAUSE),
    ("yahoo", 553, "5.7.2", "mail", "[TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.", REPUTATION, PAUSE),
    ("yahoo", 553, "5.7.1", "greeting", "[BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list", REPUTATION, PAUSE),
    ("yahoo", 553, "5.7.1", "greeting", "[TSS07] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list", REPUTATION, PAUSE),
    ("yahoo", 554, "5.7.9", "end", "Message not accepted for policy reasons.", POLICY, None),
    ("yahoo", 554, "", "end", "Message not allowed - [PH01] Email not accepted for policy reasons. [120]", CONTENT, None),
    ("yahoo", 554, "", "end", "Message not allowed - Headers are not RFC compliant[291]", CONTENT, None),
    ("yahoo", 550, "5.7.9", "end", "Blocked because the sender is unauthenticated. Yahoo requires all senders to authenticate with either SPF or DKIM.", POLICY, None),
    ("yahoo", 450, "", "rcpt", "User is receiving mail too quickly", SOFT, None),
    ("yahoo", 451, "", "mail", "Resources temporarily unavailable. Please try again later [#4.16.1].", NETWORK, None),
    ("yahoo", 421, "", "mail", "Max message per connection reached, closing transmission channel", NETWORK, None),
    ("yahoo", 554, "", "end", "delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [-9]", HARD, None),
    ("yahoo", 554, "", "end", "delivery error: dd a@yahoo.com is no longer valid. [-20]", HARD, None),
    ("yahoo", 552, "", "end", "1 Requested mail action aborted, mailbox not found", HARD, None),
    # iCloud, which asks Proofpoint
    ("icloud", 550, "5.7.0", "mail", "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", REPUTATION, PAUSE),
    ("icloud", 550, "5.7.1", "end", "[CS01] Message rejected due to local policy.", CONTENT, None),
    ("icloud", 554, "5.7.1", "end", "[HME1] This message was blocked for failing both SPF and DKIM authentication checks.", POLICY, None),
    ("icloud", 550, "5.7.1", "end", "Your message was rejected due to example.com's DMARC policy.", POLICY, None),
    ("icloud", 421, "4.7.1", "rcpt", "Messages to a@icloud.com deferred due to excessive volume. Try again later", SOFT, None),
    ("icloud", 550, "5.7.1", "rcpt", "Your email was rejected due to having a domain present in the Spamhaus DBL", CONTENT, None),
    ("icloud", 550, "5.1.6", "rcpt", "recipient no longer on server: a@icloud.com", HARD, None),
    # GMX, WEB.DE, mail.com, IONOS: postmaster.gmx.net
    ("gmx", 554, "", "greeting", "gmx.net (mxgmx104) Nemesis ESMTP Service not available No SMTP service IP address is block listed.", REPUTATION, PAUSE),
    ("gmx", 554, "", "greeting", "kundenserver.de (mxeue106) Nemesis ESMTP Service not available No SMTP service IP address is black listed.", REPUTATION, PAUSE),
    ("gmx", 554, "", "greeting", "gmx.net (mxgmx108) Nemesis ESMTP Service not available No SMTP service Bad DNS PTR resource record.", REPUTATION, None),
    ("gmx", 554, "", "end", "Transaction failed Reject due to policy restrictions.", POLICY, None),
    ("gmx", 550, "", "mail", "Requested action not taken: mailbox unavailable Reject due to policy restrictions.", POLICY, None),
    ("gmx", 550, "", "rcpt", "Requested action not taken: mailbox unavailable", HARD, None),
    ("gmx", 450, "", "rcpt", "Requested mail action not taken: mailbox unavailable", SOFT, None),
    ("gmx", 552, "", "rcpt", "Requested mail action aborted: exceeded storage allocation Quota exceeded.", SOFT, None),
    # T-Online: postmaster.t-online.de, section 4.7
    ("t-online", 554, "", "greeting", "IP=192.0.2.1 - None/bad reputation. (NOWL)", REPUTATION, PAUSE),
    ("t-online", 554, "", "greeting", "IP=192.0.2.1 - A problem occurred. (BL)", REPUTATION, PAUSE),
    ("t-online", 554, "", "greeting", "Dialup/transient IP not allowed. (DIAL)", REPUTATION, PAUSE),
    # Orange and La Poste, who share their numbers
    ("orange", 421, "", "greeting", "mwinf5c79 ME Trop de connexions. Too many connections, slow down. OFR005_104 [104]", REPUTATION, SLOW),
    ("orange", 550, "", "greeting", "mwinf5c04 ME Adresse IP source bloquee pour incident de spam. OFR006_102 [102]", REPUTATION, PAUSE),
    ("orange", 550, "", "greeting", "mwinf5c10 ME Service refuse. OFR006_103 192.0.2.1 [103]", REPUTATION, PAUSE),
    ("orange", 421, "", "mail", "mwinf5c77 ME Service refuse. Veuillez essayer plus tard. OFR_999 [999]", REPUTATION, SLOW),
    ("orange", 550, "5.2.0", "end", "mwinf5c01 ME Mail rejete. Mail rejected. OFR_506 [506]", CONTENT, None),
    ("orange", 550, "5.1.1", "rcpt", "Adresse d au moins un destinataire invalide. OFR_416 [416]", HARD, None),
    ("orange", 552, "5.1.1", "rcpt", "Boite du destinataire pleine. Recipient overquota. OFR_417 [417]", SOFT, None),
    ("orange", 501, "5.1.0", "mail", "Emetteur invalide. Invalid Sender. OFR004_405 [405]", POLICY, None),
    ("laposte.net", 550, "5.7.1", "rcpt", "Service unavailable; client [192.0.2.1] blocked using Spamhaus LPNAAA_101", REPUTATION, PAUSE),
    ("laposte.net", 421, "", "greeting", "Too many connections, slow down. LPN105_104", REPUTATION, SLOW),
    ("laposte.net", 421, "4.2.1", "mail", "Service refuse. Veuillez essayer plus tard. LPN006_107", REPUTATION, SLOW),
    ("laposte.net", 550, "5.5.0", "end", "Service refuse. Veuillez essayer plus tard. LPN007_510", REPUTATION, None),
    ("laposte.net", 571, "5.7.1", "end", "Message refused, DMARC verification Failed. LPN007_517", POLICY, None),
    ("laposte.net", 550, "5.5.0", "rcpt", "Boite du destinataire archivee. LPN007_420", HARD, None),
    # Free: postmaster.free.fr; SFR
    ("free.fr", 421, "", "greeting", "Too many spams from your IP (192.0.2.1), please visit http://postmaster.free.fr/", REPUTATION, PAUSE),
    ("free.fr", 451, "", "mail", "too many errors from your ip (192.0.2.1), please visit http://postmaster.free.fr/", REPUTATION, PAUSE),
    ("free.fr", 421, "", "greeting", "Your IP (192.0.2.1) is temporary blacklisted by an anti-troyan rule", REPUTATION, PAUSE),
    ("free.fr", 550, "", "end", "spam detected", CONTENT, None),
    ("sfr", 550, "5.7.1", "end", "Email 4RH2xT4 rejected per SPAM policy", CONTENT, None),
    # Comcast: postmaster.comcast.net/mail-error-codes.html
    ("comcast", 421, "", "mail", "Throttled - see RL000001", REPUTATION, SLOW),
    ("comcast", 421, "", "greeting", "Too many sessions opened", REPUTATION, SLOW),
    ("comcast", 550, "", "greeting", "192.0.2.1 blocked, see BL000010", REPUTATION, PAUSE),
    ("comcast", 554, "", "greeting", "resimta 192.0.2.1 refused: BL000100", REPUTATION, PAUSE),
    ("comcast", 554, "", "greeting", "resimta-po-11v 192.0.2.1 found on one or more DNSBLs", REPUTATION, PAUSE),
    ("comcast", 550, "", "greeting", "ES000010 dynamic", REPUTATION, PAUSE),
    ("comcast", 550, "5.2.0", "end", "Message rejected due to DMARC. See DM000001", POLICY, None),
    ("comcast", 550, "5.1.1", "rcpt", "Not our Customer", HARD, None),
    # other networks of America: what follows AUP# is Spectrum's, Cox's and Cloudmark's
    ("att", 553, "5.3.0", "mail", "flph825 DNSBL:RBL 521< 192.0.2.1 >_is_blocked", REPUTATION, PAUSE),
    ("att", 550, "5.7.1", "mail", "Connections not accepted from servers without a valid sender domain. Fix reverse DNS for 192.0.2.1", REPUTATION, None),
    ("cloudfilter", 421, "", "greeting", "cmsmtp 192.0.2.1 blocked. AUP#CXCNCT", REPUTATION, SLOW),
    ("cloudfilter", 421, "", "mail", "cmsmtp rate limit. AUP#CXMXRT", REPUTATION, SLOW),
    ("cloudfilter", 554, "", "greeting", "cmsmtp 192.0.2.1 blocked. AUP#CXBL", REPUTATION, PAUSE),
    ("cloudfilter", 554, "", "greeting", "cmsmtp 192.0.2.1 blocked. AUP#IPBL0001", REPUTATION, PAUSE),
    ("spectrum", 421, "", "greeting", "cmsmtp 192.0.2.1 refused. AUP#In-1310", REPUTATION, SLOW),
    ("spectrum", 554, "", "greeting", "cmsmtp 192.0.2.1 refused. AUP#In-1220", REPUTATION, PAUSE),
    ("spectrum", 554, "", "greeting", "cmsmtp IP blacklisted by Spamhaus. [103]", REPUTATION, PAUSE),
    # Russia: yandex.com/support/mail/bounces; logs of senders
    ("yandex", 554, "5.7.1", "end", "[1] Message rejected under suspicion of SPAM", CONTENT, None),
    ("yandex", 554, "5.7.1", "mail", "Blocked by spam statistics - see the page", REPUTATION, PAUSE),
    ("yandex", 554, "5.7.1", "rcpt", "Service unavailable; Client host [192.0.2.1] blocked using spamsource.mail.yandex.net", REPUTATION, PAUSE),
    ("yandex", 450, "4.2.1", "rcpt", "The recipient has exceeded message rate limit. Try again later.", SOFT, None),
    ("yandex", 550, "5.7.1", "rcpt", "Policy rejection on the target address", POLICY, None),
    ("yandex", 451, "4.7.1", "end", "Sorry, the service is currently unavailable. Please come back later.", POLICY, None),
    ("mail.ru", 550, "", "end", "spam message rejected. Please visit help.mail.ru/notspam-support", CONTENT, None),
    ("mail.ru", 550, "", "rcpt", "Message was not accepted -- invalid mailbox. Local mailbox a@mail.ru is unavailable: account is disabled", HARD, None),
    # China: service.mail.qq.com; NetEase's list of codes
    ("qq", 550, "", "mail", "Ip frequency limited", REPUTATION, SLOW),
    ("qq", 550, "", "mail", "Connection frequency limited", REPUTATION, SLOW),
    ("qq", 550, "", "mail", "Domain frequency limited", POLICY, None),
    ("qq", 550, "", "mail", "Suspected spam IP", REPUTATION, PAUSE),
    ("qq", 550, "", "greeting", "Connection denied", REPUTATION, PAUSE),
    ("qq", 550, "", "rcpt", "Mailbox unavailable or access denied", POLICY, None),
    ("qq", 550, "", "end", "Mail content denied", CONTENT, None),
    ("netease", 421, "", "hello", "HL:ICC 163 mx1,192.0.2.1 1700000000", REPUTATION, SLOW),
    ("netease", 450, "", "mail", "MI:DMC 163 mx1", REPUTATION, SLOW),
    ("netease", 421, "", "hello", "HL:REP 163 mx1,192.0.2.1 1700000000", REPUTATION, PAUSE),
    ("netease", 450, "", "rcpt", "DT:RBL 163 mx1", REPUTATION, PAUSE),
    ("netease", 451, "", "mail", "MI:SFQ 163 mx1", POLICY, None),
    ("netease", 451, "", "end", "DT:SPM 163 mx1, please try again", CONTENT, None),
    # hosts of mailboxes
    ("godaddy", 421, "", "greeting", "Connection refused, too many sessions from This IP. IB007", REPUTATION, SLOW),
    ("godaddy", 554, "", "greeting", "Connection refused. This IP has a poor reputation on Cloudmark Sender Intelligence (CSI). IB103", REPUTATION, PAUSE),
    ("godaddy", 554, "", "mail", "This IP has been temporarily blocked for attempting to send too many messages judged to be spam. IB110", REPUTATION, PAUSE),
    ("godaddy", 550, "", "rcpt", "This IP has sent too many messages this hour. IB504", REPUTATION, SLOW),
    ("godaddy", 552, "", "end", "This message has been rejected due to content judged to be spam. IB212", CONTENT, None),
    ("rackspace", 421, "", "greeting", "Too many concurrent connections from this client (G2)", REPUTATION, SLOW),
    ("rackspace", 451, "4.7.1", "rcpt", "Received too many messages from a new or untrusted IP (G28)", REPUTATION, SLOW),
    ("rackspace", 450, "4.2.1", "rcpt", "<a@example.com>: Mailbox received too much email in a short period of time (G30)", SOFT, None),
    # filtering services: each of their customers chooses what lists count, so one of them does not stop the others
    ("proofpoint", 554, "", "greeting", "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", REPUTATION, PAUSE),
    ("proofpoint", 550, "5.7.1", "rcpt", "Service unavailable; client [192.0.2.1] blocked using Proofpoint Dynamic Reputation", REPUTATION, PAUSE),
    ("proofpoint", 554, "5.7.1", "rcpt", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", REPUTATION, SLOW),
    ("mimecast", 550, "", "rcpt", "csi.mimecast.org Poor Reputation Sender.", REPUTATION, SLOW),
    ("mimecast", 451, "", "mail", "IP temporarily blacklisted", REPUTATION, SLOW),
    ("mimecast", 451, "", "greeting", "Account service is temporarily unavailable", NETWORK, SLOW),
    ("mimecast", 451, "", "rcpt", "Internal resource temporarily unavailable", POLICY, None),
    ("mimecast", 421, "", "mail", "Sender address blocked", POLICY, None),
    ("mimecast", 550, "", "rcpt", "Administrative prohibition - envelope blocked", POLICY, None),
    ("mimecast", 550, "", "rcpt", "Envelope blocked - User Entry", POLICY, None),
    ("mimecast", 550, "", "end", "Rejected by header based Anti-Spoofing policy: a@example.com", POLICY, None),
    ("mimecast", 550, "", "rcpt", "SPF Sender Invalid - envelope rejected", POLICY, None),
    ("barracuda", 554, "", "rcpt", "Service unavailable; Client host [192.0.2.1] blocked using Barracuda Reputation; bbl.barracudacentral.com", REPUTATION, PAUSE),
    ("barracuda", 550, "", "rcpt", "permanent failure for one or more recipients (a@example.com:blocked)", POLICY, None),
    ("messagelabs", 501, "", "mail", "Connection rejected by policy [7.7] 20805", REPUTATION, SLOW),
    ("messagelabs", 553, "", "mail", "mail rejected because your IP is in the PBL. See www.spamhaus.org/pbl", REPUTATION, SLOW),
    ("messagelabs", 553, "", "rcpt", "Sorry, your email address has been blocked", POLICY, None),
    ("messagelabs", 553, "", "rcpt", "Sorry, your domain has been blacklisted", POLICY, None),
    ("messagelabs", 553, "", "mail", "Sorry, your IP address has been blacklisted", REPUTATION, SLOW),
    ("messagelabs", 553, "", "end", "Message filtered. (#5.7.1)", CONTENT, None),
    ("trendmicro", 450, "4.7.1", "mail", "Mail from 192.0.2.1 has been blocked by Trend Micro Email Reputation Service.", REPUTATION, SLOW),
    ("trendmicro", 554, "5.7.1", "rcpt", "<a@example.com>: Recipient address rejected: BLOCK-SEND-ER.", POLICY, None),
    ("hornetsecurity", 554, "5.5.4", "mail", "Your IP address 192.0.2.1 has a bad reputation.", REPUTATION, SLOW),
    ("cloudflare", 554, "", "mail", "192.0.2.1 found on one or more RBLs (abusixip).", REPUTATION, SLOW),
    # anywhere: the lists and gateways that many have
    ("a.example", 554, "5.7.1", "rcpt", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", REPUTATION, PAUSE),
    ("a.example", 554, "5.7.1", "rcpt", "Service unavailable; Sender address [a@example.com] blocked using dbl.spamhaus.org; https://www.spamhaus.org/query/domain/example.com", POLICY, None),
    ("a.example", 554, "5.7.1", "rcpt", "<a@example.com>: Recipient address rejected: https://www.spamhaus.org/query/ip/192.0.2.1", REPUTATION, PAUSE),
    ("a.example", 550, "", "mail", "192.0.2.1 blacklisted see http://www.spamhaus.org/query/bl?ip=192.0.2.1", REPUTATION, PAUSE),
    ("a.example", 550, "5.7.1", "mail", "Mail from IP 192.0.2.1 was rejected due to listing in Spamhaus SBL.", REPUTATION, PAUSE),
    ("a.example", 550, "", "mail", "Email blocked by SPAMHAUS", REPUTATION, PAUSE),
    ("a.example", 550, "5.7.1", "rcpt", "Rejected: 192.0.2.1 listed at bl.spamcop.net", REPUTATION, PAUSE),
    ("a.example", 550, "", "greeting", "IP blacklisted by CSI. See csi.cloudmark.com/reset-request [LIB_102]", REPUTATION, PAUSE),
    ("a.example", 521, "5.7.1", "rcpt", "<a@example.com>: Recipient address rejected: You are not allowed to send mail. See csi.cloudmark.com/reset-request", REPUTATION, PAUSE),
    ("a.example", 554, "", "greeting", "irony-in31 Your access to this mail system from 192.0.2.1 has been rejected due to the sending MTA's poor reputation.", REPUTATION, PAUSE),
    ("a.example", 550, "", "rcpt", "The sending IP (192.0.2.1) is listed on https://spamrl.com/.", REPUTATION, PAUSE),
    ("a.example", 550, "", "rcpt", "Your IP address 192.0.2.1 has been blacklisted", REPUTATION, PAUSE),
    ("a.example", 550, "", "mail", "your server 192.0.2.1 is in the blacklist dnsbl.sorbs.net", REPUTATION, PAUSE),
    ("a.example", 451, "4.7.1", "mail", "The email server [192.0.2.1] is being temporarily rate-limited due to a poor reputation.", REPUTATION, PAUSE),
    ("a.example", 452, "", "rcpt", "Too many recipients received this hour", REPUTATION, SLOW),
    ("a.example", 421, "4.4.5", "greeting", "Too many connections from your host.", REPUTATION, SLOW),
    ("a.example", 452, "4.3.2", "mail", "Connection rate limit exceeded.", REPUTATION, SLOW),
    ("a.example", 421, "4.4.2", "mail", "Message submission rate for this client has exceeded the configured limit", REPUTATION, SLOW),
    ("a.example", 450, "4.7.1", "rcpt", "Client host rejected: cannot find your reverse hostname, [192.0.2.1]", REPUTATION, None),
    ("a.example", 554, "", "mail", "Connection from 192.0.2.1 rejected for policy reasons. Host found in DNS blacklist at dnsbl.sorbs.net", REPUTATION, PAUSE),
    ("a.example", 550, "", "rcpt", "Rejected: 192.0.2.1 is listed at work.drbl.example.net", REPUTATION, PAUSE),
    ("a.example", 554, "5.7.1", "mail", "You are not allowed to connect", REPUTATION, None),
    ("a.example", 421, "4.7.1", "rcpt", "Service unavailable; Client host [192.0.2.1] blocked using grey.rbl - greylisting in action", POLICY, None),
    ("a.example", 450, "4.1.1", "rcpt", "<a@hotmail.com>: Recipient address rejected: unverified address", SOFT, None),
    ("a.example", 450, "4.7.1", "rcpt", "cuda_nsu <email@example.com>: Recipient address rejected: Policy Rejection- Abuse. Go away.", POLICY, None),
    ("a.example", 421, "", "mail", "Reject due to policy violations", POLICY, None),
    ("a.example", 550, "", "rcpt", "Blocked", POLICY, None),
    ("a.example", 550, "", "rcpt", "rejecting spoofed message", POLICY, None),
    ("a.example", 553, "", "rcpt", "you are trying to use me [x.messagelabs.com] as a relay, but I have not been configured to let you do this", CONFIGURATION, None),
    ("a.example", 550, "", "rcpt", "cuda_nsu <a@example.com>... User unknown", HARD, None),
]  # fmt: skip

CLASSIFIER, SHAPING = classify.load(), shaping.load()


@pytest.mark.parametrize(("site", "code", "enhanced", "stage", "text", "failure", "action"), ANSWERS)
def test_what_a_provider_s_answer_means_and_what_follows(
    site: str, code: int, enhanced: str, stage: str, text: str, failure: FailureKind, action: Action | None
) -> None:
    kind = OutcomeKind.FAILED if code >= 500 else OutcomeKind.DEFERRED
    outcome = Outcome(kind, code, enhanced, text, stage=stage)
    assert CLASSIFIER.classify(outcome).failure is failure
    reaction = SHAPING.react(outcome, site)
    assert (None if reaction is None else reaction.action) is action


def test_each_site_that_a_reaction_speaks_of_is_one_of_ours() -> None:
    document = tomllib.loads((files("smtpeter") / "data" / "shaping.toml").read_text("utf-8"))
    sites = {site["name"] for site in document["site"]}
    spoken_of = {name for reaction in document["reaction"] for name in _names(reaction.get("site", []))}
    assert spoken_of <= sites
    assert {row[0] for row in ANSWERS} <= sites | {"a.example"}


def _names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
