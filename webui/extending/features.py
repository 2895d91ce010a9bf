"""What extensions make of requests, plans and infotexts: all of them together, each in its turn."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError

from webui.domain.frozen import Data
from webui.domain.plan import ExtraSampling, Plan, PreprocessPlan, UpscaleImage
from webui.domain.request import GenerationRequest, PreprocessRequest
from webui.errors import BadRequest, EaselError, GenerationError, NotFound
from webui.extending.api import ExtensionApi
from webui.extending.offers import (
    AnyPanel,
    AnyPreprocessor,
    ExtraSampler,
    ExtraSchedule,
    ExtraUpscaler,
    NoOptions,
)
from webui.extending.scripts import Tools, explain

log = logging.getLogger(__name__)


class Features:
    """What the extensions that are switched on do in the server; those of `apis` that come first act first."""

    def __init__(self, apis: Sequence[ExtensionApi] = ()) -> None:
        self._apis = {api.name: api for api in apis}

    # -- what there is -------------------------------------------------------------------------------------------------

    @property
    def apis(self) -> tuple[ExtensionApi, ...]:
        return tuple(self._apis.values())

    @property
    def tags(self) -> frozenset[str]:
        """The kinds of tags in prompts that an extension reads."""
        return frozenset(kind for api in self.apis for kind in api.tags)

    @property
    def preprocessors(self) -> tuple[AnyPreprocessor, ...]:
        return tuple(each for api in self.apis for each in api.preprocessors)

    def setting(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return the value of an extension's setting, of which `values` holds those that were changed."""
        for api in self.apis:
            if api.settings is not None and name in api.settings.options.model_fields:
                return values[name] if name in values else getattr(api.settings.options(), name)
        raise NotFound(f"No extension has a setting {name!r}.", field=name)

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings of extensions, of which `values` holds those that were changed, as JSON types."""
        usual: dict[str, Any] = {}
        for api in self.apis:
            if api.settings is not None:
                usual |= api.settings.options().model_dump(mode="json")
        return {name: values.get(name, value) for name, value in usual.items()}

    def check_settings(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of `changes` that are settings of extensions, as JSON types; raise `BadRequest` for values that
        cannot be."""
        checked: dict[str, Any] = {}
        for api in self.apis:
            if api.settings is None:
                continue
            mine = {name: value for name, value in changes.items() if name in api.settings.options.model_fields}
            if mine:
                whole = _validated(api.settings.options, mine, api.settings.title, "settings").model_dump(mode="json")
                checked |= {name: whole[name] for name in mine}
        return checked

    def find_panel(self, title: str, page: str) -> tuple[str, AnyPanel] | None:
        """Return the extension and the panel that A1111's clients call `title` (any case), if there is one."""
        wanted = title.strip().lower()
        for api in self.apis:
            panel = api.panel
            if panel and page in panel.pages and wanted in (panel.title.lower(), api.name.lower(), *panel.aliases):
                return api.name, panel
        return None

    @property
    def samplers(self) -> tuple[ExtraSampler, ...]:
        return tuple(each for api in self.apis for each in api.samplers)

    @property
    def schedules(self) -> tuple[ExtraSchedule, ...]:
        return tuple(each for api in self.apis for each in api.schedules)

    @property
    def upscalers(self) -> tuple[ExtraUpscaler, ...]:
        return tuple(each for api in self.apis for each in api.upscalers)

    def split_sampling(self, request: GenerationRequest) -> tuple[GenerationRequest, ExtraSampling]:
        """Return `request` with samplers and schedules that the program knows, and those of extensions that stand in
        for them."""
        sampler = _find(self.samplers, request.sampler)
        schedule = _find(self.schedules, request.schedule)
        if sampler is not None:
            request = request.replace(sampler=sampler.like)
        if schedule is not None:
            request = request.replace(schedule="Automatic")
        extra = ExtraSampling(
            sampler="" if sampler is None else sampler.name, schedule="" if schedule is None else schedule.name
        )
        return request, extra

    def read_sampling(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return the sampler and the schedule of extensions that an infotext names, as fields of a request."""
        sampler = _find(self.samplers, fields.get("Sampler"))
        schedule = _find(self.schedules, fields.get("Schedule type"))
        return {
            **({} if sampler is None else {"sampler": sampler.name}),
            **({} if schedule is None else {"schedule": schedule.name}),
        }

    # -- planning ------------------------------------------------------------------------------------------------------

    def change_request(self, request: GenerationRequest, tools: Tools) -> GenerationRequest:
        """Return the request that is planned; raise `BadRequest` for options that cannot be."""
        self._check_names(request)
        for api in self.apis:
            for change in api.request_changes:
                with blaming(api.name):
                    request = change(request, self._options(api, request), tools)
        return request

    def change_plan(self, plan: Plan, request: GenerationRequest, tools: Tools) -> Plan:
        """Return the plan that is queued; raise `BadRequest` for options that cannot be."""
        for api in self.apis:
            options = self._options(api, request)
            for change in api.plan_changes:
                with blaming(api.name):
                    plan = change(plan, options, tools)
        return plan

    def plan_preprocessing(self, request: PreprocessRequest) -> PreprocessPlan:
        """Resolve a request for a preprocessor alone; raise `NotFound` or `BadRequest`."""
        preprocessor = self.find_preprocessor(request.preprocessor)
        options = _validated(preprocessor.options, request.options, preprocessor.name, "options")
        return PreprocessPlan(
            images=(UpscaleImage(index=0, picture=request.image),),
            preprocessor=preprocessor.name,
            options=options.model_dump(mode="json"),
        )

    def find_preprocessor(self, name: str) -> AnyPreprocessor:
        """Return the preprocessor called `name` (any case, or an alias); raise `NotFound` naming what exists."""
        wanted = name.strip().lower()
        for each in self.preprocessors:
            if wanted in (each.name.lower(), each.label.lower(), *each.aliases):
                return each
        names = ", ".join(each.name for each in self.preprocessors) or "none"
        raise NotFound(f"Preprocessor not found: {name!r}.", hint=f"There are: {names}.", field="preprocessor")

    def _check_names(self, request: GenerationRequest) -> None:
        for name in request.extensions:
            if name not in self._apis or self._apis[name].panel is None:
                known = ", ".join(api.name for api in self.apis if api.panel) or "none"
                raise BadRequest(
                    f"There is no extension {name[:60]!r} with options.",
                    hint=f"Switch it on, or leave it out. There are: {known}.",
                    field=f"extensions.{name[:60]}",
                )

    def _options(self, api: ExtensionApi, request: GenerationRequest) -> Data:
        if api.panel is None:
            return NoOptions()
        given = request.extensions.get(api.name, {})
        return _validated(api.panel.options, given, api.panel.title, f"extensions.{api.name}")

    # -- at the edges --------------------------------------------------------------------------------------------------

    def read_arguments(self, panel: AnyPanel, arguments: Sequence[object], tools: Tools) -> Mapping[str, Any]:
        """Return the options that A1111's positional arguments mean; raise `BadRequest` for those that cannot be."""
        if panel.read_arguments is not None:
            with blaming(panel.title):
                return panel.read_arguments(arguments, tools)
        names = tuple(panel.options.model_fields)
        if len(arguments) > len(names):
            raise BadRequest(
                f"alwayson_scripts: {panel.title} takes {len(names)} arguments, not {len(arguments)}.",
                hint=f"They are, in this order: {', '.join(names)}.",
                field="alwayson_scripts",
            )
        return {name: value for name, value in zip(names, arguments, strict=False) if value is not None}

    def read_infotext(self, parameters: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Return the options that an infotext's parameters mean, by extension. What cannot be is left out, and logged:
        a picture of another program must not hinder the rest."""
        found: dict[str, Mapping[str, Any]] = {}
        for api in self.apis:
            if api.infotext is None or api.panel is None:
                continue
            try:
                options = api.infotext.read(parameters)
                if options:
                    _validated(api.panel.options, options, api.panel.title, api.name)
                    found[api.name] = options
            except Exception:
                log.warning("Extension %s cannot read an infotext", api.name, exc_info=True)
        return found

    def understands(self, key: str) -> bool:
        """Tell whether an extension reads the parameter `key` of infotexts."""
        texts = [api.infotext for api in self.apis if api.infotext is not None]
        return any(key in text.keys or key.startswith(text.prefixes) for text in texts)

    def hear(self, job_id: str, event: object) -> None:
        """Tell an event to those who listen; one that fails is logged."""
        for api in self.apis:
            for hear in api.listeners:
                try:
                    hear(job_id, event)
                except Exception:
                    log.warning("Extension %s failed to hear of an event", api.name, exc_info=True)


Named = TypeVar("Named", ExtraSampler, ExtraSchedule, ExtraUpscaler)


def _find(offered: Sequence[Named], name: str | None) -> Named | None:
    wanted = (name or "").strip().lower()
    return next((each for each in offered if each.name.lower() == wanted), None)


def _validated(model: type[Data], given: Mapping[str, Any], title: str, field: str) -> Data:
    """Return options as their model; what is null keeps its default. Raises `BadRequest` naming the one at fault."""
    try:
        return model.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        known = ", ".join(model.model_fields)
        raise BadRequest(
            f"{title}: {explain(error)}", hint=f"Its options are: {known}.", field=f"{field}.{place}"
        ) from error


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Let what goes wrong inside be told as the fault of the extension `name`, unless the error says what is wrong."""
    try:
        yield
    except EaselError:
        raise
    except ValidationError as error:
        raise BadRequest(f"{name}: {explain(error)}", field=f"extensions.{name}") from error
    except Exception as error:
        log.exception("Extension %r failed", name)
        raise GenerationError(
            f"Extension {name} failed: {type(error).__name__}: {error}.", hint="Switch it off, or see the log."
        ) from error
