"""The one error tree. Every error says what was wrong, where, and what the user can do.

EaselError
├── BadRequest            the caller asked for something impossible      (HTTP 422)
│   └── BadFile           a file's content is not what it must be        (HTTP 422)
├── NotFound              no such model, sampler, job, image             (HTTP 404)
├── NotAllowed            the gate or a containment rule refused         (HTTP 403)
├── Busy                  the queue is full or the data folder is in use (HTTP 503)
├── StorageError          the disk refused: full, read-only, gone        (HTTP 507)
└── GenerationError       the run itself failed                          (HTTP 500)
    ├── OutOfMemory       the device has too little memory
    └── WorkerDied        the worker process ended under the job
"""

from __future__ import annotations

from typing import ClassVar


class EaselError(Exception):
    """Base of everything the product raises on purpose.

    `message` says what was wrong and where; `hint` what the user can do; `field` names the request field at fault.
    """

    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.field)


def _rebuild(kind: type[EaselError], message: str, hint: str, field: str) -> EaselError:
    return kind(message, hint=hint, field=field)


class BadRequest(EaselError):
    status = 422


class BadFile(BadRequest):
    """A model, image or settings file that is truncated, foreign or hostile."""


class NotFound(EaselError):
    status = 404


class NotAllowed(EaselError):
    status = 403


class Busy(EaselError):
    status = 503


class StorageError(EaselError):
    status = 507


class GenerationError(EaselError):
    status = 500


class OutOfMemory(GenerationError):
    pass


class WorkerDied(GenerationError):
    pass


def error_called(code: str) -> type[EaselError]:
    """Return the class of errors that is called `code`; `GenerationError` for a name that is none."""
    found = globals().get(code)
    return found if isinstance(found, type) and issubclass(found, EaselError) else GenerationError
