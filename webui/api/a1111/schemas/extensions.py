"""Extensions as A1111 lists them."""

from __future__ import annotations

from pydantic import BaseModel


class ExtensionItem(BaseModel):
    name: str
    remote: str
    branch: str
    commit_hash: str
    version: str
    commit_date: str
    enabled: bool
