"""Postfix with an instance of its own in a directory, and one of those as a peer.

The peer takes authenticated mail over TLS into its hold queue, which is Postfix at its best for accepting: each message
is synced, and nothing else is done with it.  Needs root and the Debian packages postfix, libsasl2-modules, sasl2-bin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

USER, PASSWORD = "bench@localhost", "bench-secret"
_SASL_DATABASE = "/etc/sasldb2"

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = {hostname}
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
"""

_ACCEPTING = """
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = localhost
cyrus_sasl_config_path = {sasl}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_session_cache_database =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
default_process_limit = 200
"""

_HOLDING = "smtpd_sender_restrictions = check_sender_access static:HOLD\n"

_RELAYING = """
relayhost = [{host}]:{port}
smtp_tls_security_level = none
smtp_destination_concurrency_limit = 20
smtp_connection_cache_on_demand = yes
"""

_MASTER = """
{address}:{port} inet n - n - 200 smtpd{options}
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
showq unix n - n - - showq
"""


class Instance:
    """One that takes mail by SMTP at an address of this machine; ``main`` are further lines of main.cf.

    Postfix's own user has to get as far as ``directory``.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        main: str,
        *,
        smtpd_options: str = "",
        address: str = "127.0.0.1",
        hostname: str = "localhost",
    ) -> None:
        self.port = port
        self.config = directory / "etc"
        self.queue = directory / "queue"
        self.log = directory / "log"
        data = directory / "data"
        for each in (self.config, self.queue, data):
            each.mkdir(parents=True)
        directory.chmod(0o755)
        shutil.chown(data, "postfix")
        (self.config / "main.cf").write_text(_MAIN.format(directory=directory, hostname=hostname) + main)
        (self.config / "master.cf").write_text(_MASTER.format(address=address, port=port, options=smtpd_options))

    def start(self, core: str | None = None) -> None:
        """Start, all its processes on one core."""
        pin = ["taskset", "-c", core] if core else []
        subprocess.run([*pin, "postfix", "-c", self.config, "start"], check=True, capture_output=True)
        time.sleep(1)

    def stop(self) -> None:
        """Stop; what is in its queue stays there."""
        subprocess.run(["postfix", "-c", self.config, "stop"], check=False, capture_output=True)
        time.sleep(0.5)


class Postfix(Instance):
    """The peer.  With ``relay`` (host:port) it delivers there instead of holding."""

    def __init__(self, directory: Path, port: int, certificate: Path, key: Path, relay: str | None = None) -> None:
        sasl = directory / "sasl"
        sasl.mkdir(parents=True)
        (sasl / "smtpd.conf").write_text("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n")
        main = _ACCEPTING.format(sasl=sasl, certificate=certificate, key=key)
        if relay is None:
            main += _HOLDING
        else:
            host, _, relay_port = relay.rpartition(":")
            main += _RELAYING.format(host=host, port=relay_port)
        super().__init__(directory, port, main, smtpd_options=" -o smtpd_tls_wrappermode=yes")
        name, _, realm = USER.partition("@")
        subprocess.run(["saslpasswd2", "-c", "-p", "-u", realm, name], input=PASSWORD.encode(), check=True)
        shutil.chown(_SASL_DATABASE, "postfix")

    def cpu_seconds(self) -> float:
        """CPU time of its processes so far, those that have ended included."""
        master = int((self.queue / "pid" / "master.pid").read_text())
        ticks = 0
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    fields = (process / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(process.name) == master:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) == master:
                    ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")
