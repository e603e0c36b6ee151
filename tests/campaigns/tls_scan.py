"""Two scanners against our TLS, on both kinds of port, with our own certificate.

    python -m tests.campaigns.tls_scan

runs sslyze and all of testssl's tests and prints every finding that is more than information; it ends with 1 if there
is one that ``EXPECTED`` does not explain.  The tests run a part of it (tests/integration/test_tls_scan.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.gateway import Gateway
from tests.integration.tools import tool

# Findings that a private authority brings with it: nobody asks such a one whether it has revoked something.
EXPECTED = {
    "cert_revocation": "neither CRL nor OCSP: the authority's key is thrown away, there is nobody who could revoke",
    "cert_revocation_status": "as above",
    "OCSP_stapling": "as above",
    "DNS_CAArecord": "no authority of the world signs for localhost",
    "sessionresumption_ticket": "on a busy machine its client leaves before tickets come (test_tls_clients resumes)",
}
_FINE = {"OK", "INFO", "DEBUG"}
# The server's side of protocols, ciphers and certificate; what is left out are attacks on what is not offered.
SHORT = ("--protocols", "--std", "--server-defaults", "--renegotiation", "--compression")


def run_testssl(gateway, *, tls_first, directory, tests=()):
    """The findings of testssl that are more than information: (id, severity, what it says)."""
    report = directory / f"testssl-{tls_first}.json"
    port = gateway.smtps if tls_first else gateway.smtp
    command = [
        tool("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "min",
        "--add-ca", gateway.directory / "data" / "tls" / "ca.pem", "--jsonfile", report, *tests,
        *(() if tls_first else ("--starttls", "smtp")), f"localhost:{port}",
    ]  # fmt: skip
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=900)
    findings = json.loads(report.read_text())
    assert len(findings) > 20, result.stdout + result.stderr
    return [(each["id"], each["severity"], each["finding"]) for each in findings if each["severity"] not in _FINE]


def run_sslyze(gateway, *, tls_first, directory):
    """What sslyze has against us, measured by Mozilla's "intermediate" profile: lines of text."""
    port = gateway.smtps if tls_first else gateway.smtp
    command = [
        tool("sslyze"), "--mozilla_config=intermediate",
        f"--certinfo_ca_file={gateway.directory / 'data' / 'tls' / 'ca.pem'}",
        *(() if tls_first else ("--starttls=smtp",)), f"localhost:{port}",
    ]  # fmt: skip
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, cwd=directory)
    assert "COMPLIANCE AGAINST" in result.stdout, result.stdout + result.stderr
    wrong = ("VULNERABLE", "WARNING", "ERROR", "FAILED - Not compliant", "        * ")
    right = ("Not vulnerable", "not vulnerable", "NOT Trusted")  # the stores of the world do not know our authority
    compliance = result.stdout.rpartition("COMPLIANCE AGAINST")
    lines = [line for line in compliance[0].splitlines() if any(word in line for word in wrong[:3])]
    lines = [line for line in lines if not any(word in line for word in right)]
    trusted = "Supplied CA file CA Store (N/A):   OK - Certificate is trusted"
    if trusted not in result.stdout:
        lines.append("the certificate is not trusted although its authority was given")
    return lines + [line for line in compliance[2].splitlines() if any(word in line for word in wrong[3:])]


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as directory:
        gateway = Gateway(Path(directory) / "gateway", 'mode = "capture"')
        gateway.start()
        try:
            for tls_first in (False, True):
                print(f"== {'TLS from the start' if tls_first else 'STARTTLS'}", flush=True)
                for line in run_sslyze(gateway, tls_first=tls_first, directory=Path(directory)):
                    bad += 1
                    print("sslyze:", line.strip(), flush=True)
                for id, severity, finding in run_testssl(gateway, tls_first=tls_first, directory=Path(directory)):
                    expected = EXPECTED.get(id)
                    bad += expected is None
                    print(f"testssl: {id} {severity}: {finding} ({expected or 'UNEXPECTED'})", flush=True)
        finally:
            gateway.end()
    print("nothing unexpected" if not bad else f"{bad} unexpected")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
