"""Start-up facts from flags and the environment, under A1111's flag names; standard library only, frozen afterwards."""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, NoReturn

from webui.errors import StorageError

REPOSITORY: Final = Path(__file__).resolve().parent.parent
DEFAULT_PORT: Final = 7860
MODEL_FOLDERS: Final = (
    "Stable-diffusion",
    "VAE",
    "VAE-approx",
    "Lora",
    "ControlNet",
    "ESRGAN",
    "embeddings",
    "hypernetworks",
    "text_encoder",
    "adetailer",
)
REDACTED: Final = "********"
CPU_PARTS: Final = {
    "all": "all", "sd": "sd", "vae": "vae", "text": "text", "upscaler": "upscaler",
    "esrgan": "upscaler", "realesrgan": "upscaler", "bsrgan": "upscaler", "scunet": "upscaler", "swinir": "upscaler",
    "interrogate": "interrogate", "gfpgan": "gfpgan", "codeformer": "codeformer",
}  # fmt: skip
"""What --use-cpu can name → the part it means; the last three, of A1111's, never compute on anything else here."""

FOLDER_FLAGS: Final = (
    ("--ckpt-dir", "checkpoint", "checkpoints"),
    ("--vae-dir", "vae", "VAEs"),
    ("--lora-dir", "lora", "LoRAs"),
    ("--embeddings-dir", "embedding", "embeddings"),
    ("--hypernetwork-dir", "hypernetwork", "hypernetworks"),
    ("--controlnet-dir", "controlnet", "ControlNets, T2I- and IP-Adapters"),
    ("--text-encoder-dir", "text_encoder", "text encoders"),
    ("--esrgan-models-path", "upscaler", "upscalers"),
    ("--realesrgan-models-path", "upscaler", "upscalers"),
    ("--bsrgan-models-path", "upscaler", "upscalers"),
    ("--swinir-models-path", "upscaler", "upscalers"),
    ("--scunet-models-path", "upscaler", "upscalers"),
    ("--dat-models-path", "upscaler", "upscalers"),
)
"""Flags for further folders of models: the kind (as `domain.models.Kind` calls it) and what users call such models."""

Pairs = tuple[tuple[str, str], ...]
MemoryMode = Literal["auto", "normal", "medvram", "lowvram"]
Precision = Literal["auto", "full", "half"]


@dataclass(frozen=True)
class Config:
    """Everything that cannot change while the program runs. Its repr and `flags` never show a password."""

    data_dir: Path
    models_dir: Path
    checkpoint_dirs: tuple[Path, ...]
    model_dirs: Mapping[str, tuple[Path, ...]]  # further folders by kind, as in FOLDER_FLAGS
    a1111_homes: tuple[Path, ...]
    extra_model_paths: tuple[Path, ...]
    outputs_dir: Path
    state_dir: Path
    extensions_dir: Path
    extensions: Literal["all", "bundled", "none"]
    insecure_extension_access: bool
    host: str
    port: int
    port_is_fixed: bool
    webui: bool
    checkpoint: str | None
    use_cpu: frozenset[str]
    memory_mode: MemoryMode
    medvram_sdxl: bool
    cache_budget: int | None  # bytes
    most_models: int | None
    half: bool
    half_vae: bool
    precision: Precision
    gradio_auth: Pairs = field(repr=False)
    api_auth: Pairs = field(repr=False)
    cors_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    theme: str | None
    autolaunch: bool
    log_level: str
    runner: Literal["process", "stub"]
    flags: Mapping[str, object]


class Unneeded(NamedTuple):
    """An A1111 flag whose purpose is met anyway: accepted, with one line that says why it does nothing."""

    names: str
    reason: str
    takes_value: bool = False


class Refused(NamedTuple):
    """An A1111 flag that promises something Easel does not do: never accepted, so that nobody relies on it."""

    names: str
    reason: str


UNNEEDED: Final = (
    Unneeded(
        "--xformers --force-enable-xformers --xformers-flash-attention --opt-split-attention --opt-split-attention-v1"
        " --opt-split-attention-invokeai --opt-sub-quad-attention --opt-sdp-attention --opt-sdp-no-mem-attention"
        " --disable-opt-split-attention --opt-channelslast",
        "PyTorch's own attention is always used",
    ),
    Unneeded(
        "--sub-quad-q-chunk-size --sub-quad-kv-chunk-size --sub-quad-chunk-threshold",
        "PyTorch's own attention is always used",
        takes_value=True,
    ),
    Unneeded("--upcast-sampling", "the precision is chosen for the device; --no-half asks for float32"),
    Unneeded("--disable-nan-check", "a broken image is reported for that image alone, the others go on"),
    Unneeded(
        "--skip-torch-cuda-test --skip-python-version-check --skip-version-check --skip-install"
        " --skip-prepare-environment --skip-load-model-at-start --reinstall-xformers",
        "the start does no such slow step",
    ),
    Unneeded("--gradio-queue --no-gradio-queue", "generation never runs in Gradio's queue"),
    Unneeded("--no-download-sd-model --do-not-download-clip --disable-tls-verify", "nothing is ever downloaded"),
    Unneeded("--no-hashing", "a file is hashed once and the result kept"),
    Unneeded(
        "--lowram --disable-model-loading-ram-optimization", "weights are mapped from disk, not copied through memory"
    ),
    Unneeded("--always-batch-cond-uncond", "both branches are computed together wherever they fit"),
    Unneeded("--disable-console-progressbars --no-progressbar-hiding", "no progress bars are printed"),
    Unneeded("--unload-gfpgan --gradio-debug", "A1111 itself no longer uses it"),
    Unneeded("--gradio-img2img-tool --gradio-inpaint-tool", "A1111 itself no longer uses it", takes_value=True),
)

REFUSED: Final = (
    Refused("--share --ngrok --localtunnel", "Easel opens no tunnel to the internet; use --listen with --gradio-auth"),
    Refused("--allow-code", "Easel runs no code typed into a web page"),
    Refused("--disable-safe-unpickle", "Easel never unpickles a model; convert .ckpt and .pt files to .safetensors"),
    Refused(
        "--update-all-extensions --update-check",
        "an update is looked at before it is installed, on the Extensions page; nothing is fetched at the start",
    ),
    Refused(
        "--ldsr-models-path --gfpgan-models-path --gfpgan-dir --gfpgan-model"
        " --codeformer-models-path --clip-models-path --textual-inversion-templates-dir --localizations-dir"
        " --styles-file",
        "put the files, or a link to their folder, into A1111's folder under models/ (--models-dir moves all of it)",
    ),
    Refused("--vae-path", "put the VAE into models/VAE"),
    Refused("--ui-settings-file --ui-config-file", "preferences are kept below --data-dir, in outputs/.easel"),
    Refused("--freeze-settings --freeze-settings-in-sections --freeze-specific-settings", "settings cannot be frozen"),
    Refused("--hide-ui-dir-config", "folders are set by flags only, never in the browser"),
    Refused("--device-id", "choose the card outside: CUDA_VISIBLE_DEVICES=1 python3 launch.py"),
    Refused("--use-ipex --use-directml --use-zluda", "install that torch build with TORCH_COMMAND instead"),
    Refused("--tls-keyfile --tls-certfile --self-sign", "let a reverse proxy (nginx, Caddy) in front speak HTTPS"),
    Refused("--subpath --timeout-keep-alive", "set it in the reverse proxy in front"),
    Refused("--cors-allow-origins-regex", "name the origins: --cors-allow-origins=https://a.example"),
    Refused("--gradio-allowed-path", "Easel serves its own images only, no other folder"),
    Refused("--api-log --enable-console-prompts", "prompts and requests are not logged; --loglevel sets the rest"),
    Refused("--api-server-stop --add-stop-route", "no request can stop the server; press Ctrl-C in its console"),
    Refused("--no-prompt-history", "jobs are recorded so that none is lost"),
    Refused("--dump-sysinfo", "run: python3 launch.py --doctor"),
    Refused("--administrator --unix-filenames-sanitization --filenames-max-length", "there is no such switch here"),
)


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Return the configuration; flags in COMMANDLINE_ARGS come first, so the command line wins.

    Prints one line to stderr for each flag that is accepted but not needed. Anything wrong: one line and SystemExit(2).
    """
    config, notes = read(arguments, environment)
    for note in notes:
        print(note, file=sys.stderr)
    return config


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Config, tuple[str, ...]]:
    """Return the configuration and the notes on flags that are not needed, like `parse` but without printing them."""
    parser = build_parser()
    try:
        inherited = split(environment.get("COMMANDLINE_ARGS", ""), windows=os.name == "nt")
    except ValueError as problem:
        parser.error(f"COMMANDLINE_ARGS cannot be read: {problem}")
    options, unknown = parser.parse_known_args([*inherited, *arguments])
    if unknown:
        _refuse_unknown(parser, unknown)
    return _configure(parser, options), tuple(_notes(options))


def prepare(config: Config) -> None:
    """Make the folders of `config`; StorageError names the one that cannot be made or written."""
    folders = [config.models_dir / name for name in MODEL_FOLDERS] + [config.outputs_dir]
    private = [config.state_dir, config.state_dir / "temporary", config.state_dir / "gradio"]
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for folder in private:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StorageError(
            f"The folder {folder} cannot be made: {problem.strerror or problem}.",
            hint="Free the disk or allow writing there, or choose another place with --data-dir.",
        ) from problem
    for folder in (config.outputs_dir, config.state_dir):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StorageError(
                f"The folder {folder} cannot be written.",
                hint="Give your account the right to write there, or choose another place with --data-dir.",
            )


def is_loopback(host: str) -> bool:
    """Return whether `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split(text: str, *, windows: bool) -> list[str]:
    r"""Split a line of flags like a shell; on Windows a backslash is a plain character (C:\models)."""
    if not windows:
        return shlex.split(text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    return list(lexer)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; a page of usage would hide it."""
        self.exit(2, f"launch.py: {message}\n")


class _Refuse(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        parser.error(f"{option} is not available: {self.const}.")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every flag the app itself understands (launch.py has a few more of its own)."""
    parser = _Parser(prog="launch.py", description="Easel, a Stable Diffusion web UI.", allow_abbrev=False)
    _add_server_flags(parser.add_argument_group("server"))
    _add_folder_flags(parser.add_argument_group("folders and models"))
    _add_extension_flags(parser.add_argument_group("extensions"))
    _add_device_flags(parser.add_argument_group("device and memory"))
    hidden = parser.add_argument_group("compatibility")
    hidden.add_argument("--stub-runner", action="store_true", help=argparse.SUPPRESS)
    for unneeded in UNNEEDED:
        for name in unneeded.names.split():
            hidden.add_argument(
                name, dest=_unneeded(name), nargs=1 if unneeded.takes_value else 0, action=_Keep, help=argparse.SUPPRESS
            )
    for refused in REFUSED:
        for name in refused.names.split():
            hidden.add_argument(
                name, dest=argparse.SUPPRESS, nargs="*", action=_Refuse, const=refused.reason, help=argparse.SUPPRESS
            )
    return parser


class _Keep(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, True)


def _add_server_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--listen", action="store_true", help="answer other machines too (0.0.0.0); needs a password")
    add("--server-name", metavar="ADDRESS", help="answer on this address instead of 127.0.0.1")
    add("--port", type=_port, help=f"default {DEFAULT_PORT}, or the next free one")
    add("--gradio-auth", metavar="USER:PASSWORD[,...]", help="log-in for the web UI")
    add("--gradio-auth-path", type=Path, metavar="FILE", help="the same from a file, one or more per line")
    add("--api-auth", metavar="USER:PASSWORD[,...]", help="log-in for the API")
    add("--i-know-no-auth", action="store_true", help="allow --listen without any password: everyone can use the GPU")
    add("--cors-allow-origins", metavar="ORIGIN[,...]", help="web pages of these origins may call the API")
    add("--allowed-hosts", metavar="NAME[,...]", help="further names under which this server may be called")
    add("--api", action="store_true", help="accepted for A1111's sake: the API is always there")
    add("--nowebui", action="store_true", help="the API alone, without the web UI")
    add("--theme", choices=("dark", "light"), help="default: what the browser prefers")
    add("--autolaunch", action="store_true", help="open the browser after the start")
    add("--loglevel", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO")


def _add_folder_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--data-dir", type=Path, default=REPOSITORY, metavar="FOLDER", help="holds models/ and outputs/")
    add("--models-dir", type=Path, metavar="FOLDER", help="models somewhere else, e.g. A1111's models folder")
    for flag, _, words in FOLDER_FLAGS:
        add(flag, type=Path, action="append", metavar="FOLDER", help=f"one more folder of {words} (repeatable)")
    add(
        "--a1111-home",
        "--forge-ref-a1111-home",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="use the models in this folder of A1111 or Forge, where they are (repeatable)",
    )
    add(
        "--extra-model-paths",
        "--extra-model-paths-config",
        type=Path,
        action="append",
        metavar="FILE",
        help="use the models in the folders that a file like ComfyUI's extra_model_paths.yaml names (repeatable)",
    )
    add("--ckpt", metavar="NAME", help="the checkpoint to start with")


def _add_extension_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--extensions-dir", type=Path, metavar="FOLDER", help="extensions of other people; default: extensions/")
    add("--disable-extra-extensions", action="store_true", help="load those that come with Easel, no others")
    add("--disable-all-extensions", action="store_true", help="load no extension at all")
    add(
        "--enable-insecure-extension-access",
        action="store_true",
        help="let everyone who can reach the page install extensions, which is to run any code here",
    )


def _add_device_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--use-cpu",
        nargs="+",
        type=_cpu_part,
        metavar="PART",
        default=[],
        help="compute on the CPU: all (or sd), or only vae, text (the text encoders), upscaler",
    )
    memory = group.add_mutually_exclusive_group()
    memory.add_argument("--medvram", action="store_true", help="one part of the model on the card at a time")
    memory.add_argument("--lowvram", action="store_true", help="as little of the model on the card as possible")
    memory.add_argument(
        *("--normalvram", "--always-gpu", "--always-high-vram"),
        action="store_true",
        help="the whole model on the card, whatever is free",
    )
    add("--medvram-sdxl", action="store_true", help="--medvram for SDXL models alone")
    add("--cache-budget", type=_gigabytes, metavar="GB", help="RAM that models may take; default: what is free")
    add("--most-models", type=_count, metavar="N", help="models in memory together; default: as many as have room")
    add("--no-half", action="store_true", help="float32 for the network")
    add("--no-half-vae", action="store_true", help="float32 for the VAE")
    add("--precision", choices=("autocast", "full", "half"), default="autocast", help="default: what suits the device")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _cpu_part(text: str) -> str:
    part = CPU_PARTS.get(text.lower())
    if part is None:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CPU_PARTS)}")
    return part


def _gigabytes(text: str) -> int:
    try:
        count = float(text)
    except ValueError:
        count = -1.0
    if not 0 <= count <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of gigabytes")
    return round(count * 10**9)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of models from 1 on")
    return int(text)


def _unneeded(name: str) -> str:
    return "unneeded" + name.replace("-", "_")


def _notes(options: argparse.Namespace) -> list[str]:
    return [
        f"{name} is not needed: {unneeded.reason}."
        for unneeded in UNNEEDED
        for name in unneeded.names.split()
        if getattr(options, _unneeded(name))
    ]


def _refuse_unknown(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    first = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
    known = [name for action in parser._actions for name in action.option_strings]
    nearest = difflib.get_close_matches(first.replace("_", "-"), known, n=1, cutoff=0.6)
    hint = f"did you mean {nearest[0]}?" if nearest else "python3 launch.py --help lists them."
    if not first.startswith("-"):
        parser.error(f"{first!r} belongs to no flag; quote paths that contain spaces.")
    parser.error(f"unknown flag {first}: {hint}")


def _configure(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Config:
    gradio_auth = _pairs(parser, "--gradio-auth", options.gradio_auth)
    if options.gradio_auth_path is not None:
        gradio_auth += _pairs(parser, "--gradio-auth-path", _file_of_pairs(parser, options.gradio_auth_path))
    api_auth = _pairs(parser, "--api-auth", options.api_auth)
    host = options.server_name or ("0.0.0.0" if options.listen else "127.0.0.1")
    if not (is_loopback(host) or gradio_auth or api_auth or options.i_know_no_auth):
        parser.error(
            f"answering other machines ({host}) needs --gradio-auth user:password or --api-auth user:password "
            "(or --i-know-no-auth, which lets everyone in)."
        )
    data_dir = _absolute(options.data_dir)
    models_dir = _absolute(options.models_dir) if options.models_dir else data_dir / "models"
    model_dirs = _model_dirs(parser, options)
    return Config(
        data_dir=data_dir,
        models_dir=models_dir,
        checkpoint_dirs=(models_dir / "Stable-diffusion", *model_dirs.get("checkpoint", ())),
        model_dirs=model_dirs,
        a1111_homes=_existing(parser, "--a1111-home", options.a1111_home or ()),
        extra_model_paths=_existing_files(parser, "--extra-model-paths", options.extra_model_paths or ()),
        outputs_dir=data_dir / "outputs",
        state_dir=data_dir / "outputs" / ".easel",
        extensions_dir=_absolute(options.extensions_dir) if options.extensions_dir else data_dir / "extensions",
        extensions=_which_extensions(options),
        insecure_extension_access=options.enable_insecure_extension_access,
        host=host,
        port=options.port or DEFAULT_PORT,
        port_is_fixed=options.port is not None,
        webui=not options.nowebui,
        checkpoint=options.ckpt,
        use_cpu=frozenset(options.use_cpu),
        memory_mode=_memory_mode(options),
        medvram_sdxl=options.medvram_sdxl,
        cache_budget=options.cache_budget,
        most_models=options.most_models,
        half=not options.no_half,
        half_vae=not options.no_half_vae,
        precision="auto" if options.precision == "autocast" else options.precision,
        gradio_auth=gradio_auth,
        api_auth=api_auth,
        cors_origins=_listed(options.cors_allow_origins),
        allowed_hosts=_listed(options.allowed_hosts),
        theme=options.theme,
        autolaunch=options.autolaunch,
        log_level=options.loglevel,
        runner="stub" if options.stub_runner else "process",
        flags=_flags(options),
    )


def _which_extensions(options: argparse.Namespace) -> Literal["all", "bundled", "none"]:
    if options.disable_all_extensions:
        return "none"
    return "bundled" if options.disable_extra_extensions else "all"


def _memory_mode(options: argparse.Namespace) -> MemoryMode:
    if options.lowvram:
        return "lowvram"
    if options.medvram:
        return "medvram"
    return "normal" if options.normalvram else "auto"


def _pairs(parser: argparse.ArgumentParser, flag: str, text: str | None) -> Pairs:
    """Read `user:password,user:password`; the password may contain colons. The message never repeats what was given."""
    pairs = []
    for number, entry in enumerate(_listed(text), start=1):
        user, colon, password = entry.partition(":")
        if not (user and colon and password):
            parser.error(f"{flag}: entry {number} is not of the form user:password.")
        pairs.append((user, password))
    if text is not None and not pairs:
        parser.error(f"{flag} is empty; give user:password.")
    return tuple(pairs)


def _file_of_pairs(parser: argparse.ArgumentParser, path: Path) -> str:
    try:
        return ",".join(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as problem:
        parser.error(f"--gradio-auth-path: {path} cannot be read: {getattr(problem, 'strerror', None) or problem}.")


def _model_dirs(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Mapping[str, tuple[Path, ...]]:
    found: dict[str, tuple[Path, ...]] = {}
    for flag, kind, _ in FOLDER_FLAGS:
        named = getattr(options, flag[2:].replace("-", "_")) or ()
        found[kind] = (*found.get(kind, ()), *_existing(parser, flag, named))
    return {kind: folders for kind, folders in found.items() if folders}


def _existing(parser: argparse.ArgumentParser, flag: str, folders: Sequence[Path]) -> tuple[Path, ...]:
    absolute = tuple(_absolute(folder) for folder in folders)
    for folder in absolute:
        if not folder.is_dir():
            parser.error(f"{flag}: there is no folder {folder}.")
    return absolute


def _existing_files(parser: argparse.ArgumentParser, flag: str, files: Sequence[Path]) -> tuple[Path, ...]:
    absolute = tuple(_absolute(file) for file in files)
    for file in absolute:
        if not file.is_file():
            parser.error(f"{flag}: there is no file {file}.")
    return absolute


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder.expanduser()))


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _flags(options: argparse.Namespace) -> Mapping[str, object]:
    """Return what /sdapi/v1/cmd-flags shows: A1111's names, JSON values, passwords struck out."""
    shown: dict[str, object] = {}
    for name, value in vars(options).items():
        if name.startswith("unneeded"):
            shown[name.removeprefix("unneeded__")] = bool(value)
        elif name in ("gradio_auth", "api_auth") and value is not None:
            shown[name] = REDACTED
        else:
            shown[name] = _plain(value)
    del shown["stub_runner"]
    return shown
