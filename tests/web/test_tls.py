"""Certificates as operators give them: what cannot be right is one sentence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from portico.web.tls import Tls, TlsError, TlsFiles

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def encrypt(key: Path, form: str) -> Path:
    encrypted = key.with_suffix(f".{form}")
    command = ["openssl", form, "-aes128", "-in", str(key), "-out", str(encrypted), "-passout", "pass:secret"]
    if form == "pkcs8":
        command = ["openssl", "pkcs8", "-topk8", *command[3:]]
    else:
        command.append("-traditional")
    subprocess.run(command, check=True, capture_output=True)
    return encrypted


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "own")
    _, other = make_certificate(tmp_path, "other")
    garbage, nothing = tmp_path / "garbage.pem", tmp_path / "nothing.pem"
    garbage.write_bytes(b"\x00garbage")
    cases = {
        TlsFiles(nothing, key): f"cannot read {nothing}: No such file or directory",
        TlsFiles(certificate, tmp_path): f"cannot read {tmp_path}: Is a directory",
        TlsFiles(certificate, other): f"{other} is not the key of the certificate {certificate}",
        TlsFiles(garbage, key): f"{garbage} and {key} are not a certificate and its key in PEM",
        TlsFiles(certificate, garbage): f"{certificate} and {garbage} are not a certificate and its key in PEM",
        TlsFiles(certificate, key, garbage): f"{garbage} has no certificate in PEM",
        TlsFiles(certificate, key, nothing): f"cannot read {nothing}: No such file or directory",
    }
    for form in ("rsa", "pkcs8"):
        encrypted = encrypt(key, form)
        cases[TlsFiles(certificate, encrypted)] = (
            f"the key {encrypted} is encrypted, and nobody is there to be asked for its password"
        )
    for files, message in cases.items():
        with pytest.raises(TlsError) as refused:
            Tls(files)
        assert str(refused.value) == message


def test_what_was_read_holds_on_while_files_do_not_belong_together(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "own")
    new_certificate, new_key = make_certificate(tmp_path, "new")
    tls = Tls(TlsFiles(certificate, key))
    context, before = tls.context, tls.contents
    shutil.copy(new_certificate, certificate)
    with pytest.raises(TlsError, match="is not the key of"):
        tls.reload()
    assert tls.contents is before
    shutil.copy(new_key, key)
    tls.reload()
    assert tls.context is context
    assert tls.contents.certificate == new_certificate.read_bytes()
