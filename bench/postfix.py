"""Postfix as a peer: an instance of its own that takes authenticated mail over TLS into its hold queue.

The hold queue is Postfix at its best for accepting: each message is synced, and nothing else is done with it.
Needs the Debian packages postfix, libsasl2-modules and sasl2-bin, and root.
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
queue_directory = {queue}
data_directory = {data}
mail_owner = postfix
setgid_group = postdrop
myhostname = localhost
mydestination =
inet_interfaces = 127.0.0.1
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = localhost
cyrus_sasl_config_path = {sasl}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_session_cache_database =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sender_restrictions = {hold}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
default_process_limit = 200
maillog_file = /var/log/postfix-bench.log
{relay}
"""

_MASTER = """
127.0.0.1:{port} inet n - n - 200 smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
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
postlog unix-dgram n - n - 1 postlogd
showq unix n - n - - showq
"""


class Postfix:
    """A running instance.  With ``relay`` (host:port) it delivers there instead of holding."""

    def __init__(self, directory: Path, port: int, certificate: Path, key: Path, relay: str | None = None) -> None:
        self.port = port
        self._directory = directory
        self._config = directory / "etc"
        self._queue = directory / "queue"
        data = directory / "data"
        sasl = directory / "sasl"
        for each in (self._config, self._queue, data, sasl):
            each.mkdir(parents=True)
        directory.chmod(0o755)
        shutil.chown(data, "postfix")
        relaying = ""
        if relay is not None:
            host, _, relay_port = relay.rpartition(":")
            relaying = f"relayhost = [{host}]:{relay_port}\nsmtp_tls_security_level = none\n"
            relaying += "smtp_destination_concurrency_limit = 20\nsmtp_connection_cache_on_demand = yes\n"
        hold = "" if relay else "check_sender_access static:HOLD"
        main = _MAIN.format(
            queue=self._queue, data=data, sasl=sasl, certificate=certificate, key=key, relay=relaying, hold=hold
        )
        (self._config / "main.cf").write_text(main)
        (self._config / "master.cf").write_text(_MASTER.format(port=port))
        (sasl / "smtpd.conf").write_text("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n")
        name, _, realm = USER.partition("@")
        subprocess.run(["saslpasswd2", "-c", "-p", "-u", realm, name], input=PASSWORD.encode(), check=True)
        shutil.chown(_SASL_DATABASE, "postfix")

    def start(self, core: str | None) -> None:
        """Start, all its processes on one core."""
        pin = ["taskset", "-c", core] if core else []
        subprocess.run([*pin, "postfix", "-c", self._config, "start"], check=True, capture_output=True)
        time.sleep(1)

    def cpu_seconds(self) -> float:
        """CPU time of its processes so far, those that have ended included."""
        master = int((self._queue / "pid" / "master.pid").read_text())
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

    def stop(self) -> None:
        """Stop, and throw its queue away."""
        subprocess.run(["postfix", "-c", self._config, "stop"], check=False, capture_output=True)
        time.sleep(0.5)
