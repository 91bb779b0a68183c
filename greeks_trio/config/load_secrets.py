"""Secrets in files: ``NAME_FILE``, and the credentials that systemd hands over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from greeks_trio.config.names import CREDENTIALS, SECRETS
from greeks_trio.config.secret import FILE_SUFFIX

# The longest token of a broker has about 2 kB.
MAX_BYTES: Final = 16_384


def read_secret_files(
    variables: MutableMapping[str, str],
    sources: MutableMapping[str, str],
    environment: Mapping[str, str],
) -> Iterator[str]:
    """Set each secret that is in a file, and yield the problems.

    Each problem is one sentence, and none shows a secret.
    """
    directory = environment.get(CREDENTIALS, "")
    for name in SECRETS:
        variable = f"{name}{FILE_SUFFIX}"
        path = variables.get(variable, "").strip()
        place = f"{variable} (set {sources.get(variable)}) names {path}, which"
        if not path and directory and os.path.lexists(Path(directory, name)):
            path = str(Path(directory, name))
            place = f"The credential {path}"
        if not path:
            continue
        if variables.get(name):
            yield (
                f"{name} is set {sources[name]}, and {place.partition(' names')[0]} has "
                "it, too; remove one of the two."
            )
            continue
        text, fault = _read(path)
        if fault:
            yield f"{place} {fault}."
        variables[name], sources[name] = text, f"in the file {path}"


def _read(path: str) -> tuple[str, str]:
    """Return the secret and the fault, of which one is empty."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode()
    except UnicodeDecodeError:
        return "", "is not UTF-8 text; save it as UTF-8"
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        return "", f"cannot be read ({reason}); correct the path or its permissions"
    if len(content) > MAX_BYTES:
        return "", f"is larger than {MAX_BYTES} bytes; it may hold the secret alone"
    # Editors and `echo` end a file with a line break.
    text = text.removesuffix("\n").removesuffix("\r")
    return text, "" if text else "is empty; write the secret into it"
