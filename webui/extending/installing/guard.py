"""Decides whether extensions may be installed at all: installing one is running code on this machine."""

from __future__ import annotations

from webui.config import Config, is_loopback

HINT = "Start without that, or with --enable-insecure-extension-access to let everyone who gets in do it."


def refusal(config: Config) -> str:
    """Return why nothing may be installed or removed, empty if it may."""
    if config.insecure_extension_access:
        return ""
    if not is_loopback(config.host):
        reason = f"the server answers other machines ({config.host})"
    elif config.allowed_hosts:
        reason = "the server answers to other names (--allowed-hosts)"
    elif config.cors_origins:
        reason = "pages of other origins may use the server (--cors-allow-origins)"
    else:
        return ""
    return f"Extensions cannot be installed or changed while {reason}. {HINT}"
