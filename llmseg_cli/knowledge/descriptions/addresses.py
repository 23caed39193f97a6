"""Addresses of servers and proxies, as a user or the environment names them."""

import ipaddress
import re
from urllib.parse import urlsplit
from urllib.request import getproxies

from llmseg_cli.errors import UsageError

WEB = ("http", "https")
SOCKS = ("socks5", "socks5h")
HIDDEN = "***"
LONGEST = 2048
_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?")


def check_server(address: str, *, name: str) -> None:
    """Refuse what is no address of a server; *name* is where it comes from.

    Raises:
        UsageError: Then; it repeats no password.
    """
    if not is_address(address, WEB):
        raise wrong_server(address, name=name)


def wrong_server(address: str, *, name: str) -> UsageError:
    """What to say of an address that is none."""
    return UsageError(
        f"{name} {shown(address)}: expected an address such as http://127.0.0.1:8000/v1."
    )


def check_proxies() -> None:
    """Refuse proxies of the environment that no request could go through.

    Raises:
        UsageError: If one is no address or speaks another protocol.
    """
    for kind, address in getproxies().items():
        whole = address if "://" in address else f"http://{address}"
        if kind in (*WEB, "all") and not is_address(whole, (*WEB, *SOCKS)):
            name = f"{kind.upper()}_PROXY"
            raise UsageError(
                f"{name} {shown(address)}: expected a proxy such as http://127.0.0.1:3128. Set it "
                f"anew, or 'unset {name} {name.lower()}'."
            )


def is_address(address: str, schemes: tuple[str, ...]) -> bool:
    """Whether a text names a machine, and a way to speak with it."""
    if len(address) > LONGEST or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
        return parts.scheme in schemes and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:  # brackets or a port that are none
        return False


def shown(address: str) -> str:
    """An address in one line, without what stands before its `@`."""
    scheme, mark, rest = address.rpartition("://")
    if "@" in rest:
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    found = f"{scheme}{mark}{rest}"
    plain = found if found.isprintable() else repr(found)
    return plain if len(plain) <= LONGEST else f"{plain[:80]}..."


def _is_host(host: str) -> bool:
    if ":" in host:
        return bool(ipaddress.ip_address(host.partition("%")[0]))  # ValueError if it is none
    return bool(_HOST.fullmatch(host))
