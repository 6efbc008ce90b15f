"""``crosslatent transplant``: one transplant beside the unmodified answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosslatent.cli.counterparts import CounterpartMaker, check_parallel
from crosslatent.cli.errors import warn
from crosslatent.cli.options import (
    CacheOption,
    ChatArgOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    ModulesOption,
    PositionsOption,
    QuantizationOption,
    RevisionOption,
    StrengthOption,
    TranslateOption,
    chat_arguments,
    names,
    positive,
    prompt_text,
    whole,
)
from crosslatent.cli.output import console, print_json, print_text
from crosslatent.cli.questions import AUTO
from crosslatent.cli.selected import check_alone, transplant_by
from crosslatent.core.errors import PairError, PromptError
from crosslatent.core.specs import (
    AsChat,
    TransplantSpec,
    chat_of,
    check_component,
    check_preset,
    right_now,
)

if TYPE_CHECKING:
    from crosslatent.api import TransplantResult
    from crosslatent.model import Model

_TOKENS = 20
"""Most tokens of an answer if none are given, and no selector."""

_WHAT = "give --component, --source and --target, or --preset NAME or --selector FILE"


def transplant(
    model: ModelOption,
    main: Annotated[
        str | None, typer.Option(metavar="TEXT|@FILE", help="The prompt that gets answered.")
    ] = None,
    aux: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT|@FILE|auto",
            help="Its counterpart, which the vector comes from; auto translates main.",
        ),
    ] = None,
    lang: Annotated[
        str | None,
        typer.Option(metavar="L", help="Language of main, for auto; found out by default."),
    ] = None,
    aux_lang: Annotated[
        str, typer.Option(metavar="L", help="Language that auto translates into.")
    ] = "en",
    translate_with: TranslateOption = "self",
    translation_cache: CacheOption = None,
    save_parallel: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write main with its translation, for --prompts."),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help="Put prompts through the tokenizer's chat template, or not; with --selector as in "
            "its run by default.",
        ),
    ] = None,
    chat_arg: ChatArgOption = None,
    component: Annotated[
        str | None, typer.Option(metavar="C", help="attn, ffn, attn_residual or block.")
    ] = None,
    source: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="I", help="Layer in aux, from 0; -1 is the last."),
    ] = None,
    target: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="J", help="Layer in main, from 0; -1 is the last."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead of component and layers: understanding, generation or culture.",
        ),
    ] = None,
    selector: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead of all these: what 'crosslatent select --save' kept."
        ),
    ] = None,
    options: Annotated[
        str | None,
        typer.Option(metavar="O,O", help="With --selector: what an answer may be, as '(1),(2)'."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="C:I:J", help="One more transplant in the same answer; may be repeated."
        ),
    ] = None,
    strength: StrengthOption = 1.0,
    positions: PositionsOption = 1,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            parser=positive,
            metavar="T",
            help=f"Most tokens of the answer; {_TOKENS}, or with --selector as in its run.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    quantization: QuantizationOption = None,
    revision: RevisionOption = None,
    modules: ModulesOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Carry one activation from aux to main, and show the answer beside the unmodified one."""
    check_alone(
        selector,
        component=component,
        source=source is not None,
        target=target is not None,
        preset=preset,
        also=also,
        strength=strength,
        positions=positions,
        options=options,
    )
    # With a selector and neither of --chat and --no-chat, its run decides about both.
    chat_args = chat_arguments(chat_arg, chat=bool(chat) or (chat is None and selector is not None))
    what = None if selector else _what(component, source, target, preset)
    more = [_more(text) for text in also or ()]
    main, aux = _prompts(main, aux)
    check_parallel(save_parallel, aux is None, None)
    from crosslatent.cli.models import load_model

    loaded = load_model(model, revision, device, dtype, modules, quantization)
    as_chat = chat_of(chat, chat_args if chat else None, right_now())
    if aux is None:
        translator = CounterpartMaker(
            loaded, translate_with, aux_lang, as_chat, translation_cache, device, dtype
        )
        aux = _translated(translator, main, lang, save_parallel)
    if what is None:
        assert selector is not None
        transplant_by(
            selector,
            loaded,
            main,
            aux,
            lang=lang,
            aux_lang=aux_lang,
            options=names(options, "--options"),
            max_new_tokens=max_new_tokens,
            chat=chat,
            chat_args=chat_args or None,
            as_json=json,
        )
        return
    from crosslatent import api

    result = api.transplant(
        loaded,
        main=main,
        aux=aux,
        component=what.component,
        source=what.source,
        target=what.target,
        also=more,
        strength=strength,
        positions=positions,
        max_new_tokens=max_new_tokens or _TOKENS,
        chat=bool(chat),
        chat_args=chat_args,
    )
    _warn_of_thoughts(loaded, main, as_chat, max_new_tokens or _TOKENS)
    if not result.same_last_token:
        warn(
            f"main ends in the token {result.main_token!r} and aux in {result.aux_token!r}; the "
            "transplant happens at these tokens, so prompts that end alike compare better."
        )
    elif result.ends_in_blank:
        warn(
            "main and aux both end in a blank, which is then a token of its own: the transplant "
            "happens at it, and models hardly go on after it, so take the blank away."
        )
    if json:
        print_json(result.to_dict() | {"main": main, "aux": aux})
    else:
        _print(result)


def _warn_of_thoughts(model: Model, main: str, chat: AsChat, new_tokens: int) -> None:
    from crosslatent.model.chat import Prompt, thought_note

    note = thought_note(model, Prompt(main), chat=chat, role="main", new_tokens=new_tokens)
    if note is not None:
        warn(note)


def _what(
    component: str | None, source: int | None, target: int | None, preset: str | None
) -> TransplantSpec:
    given = (component, source, target)
    if preset is not None:
        if any(value is not None for value in given):
            raise PairError(f"--preset cannot be combined with component or layers: {_WHAT}.")
        return check_preset(preset)
    if component is None or source is None or target is None:
        options = ("--component", "--source", "--target")
        absent = [name for name, value in zip(options, given, strict=True) if value is None]
        raise PairError(f"What to transplant is not clear without {', '.join(absent)}: {_WHAT}.")
    return TransplantSpec(check_component(component), source, target)


def _more(text: str) -> TransplantSpec:
    try:
        component, source, target = text.split(":")
        what = TransplantSpec(check_component(component), int(source), int(target))
    except ValueError as error:
        raise PairError(
            f"--also is {text!r}, but component, source and target belong there, such as ffn:3:0."
        ) from error
    return what


def _translated(translate: CounterpartMaker, main: str, lang: str | None, save: Path | None) -> str:
    """The counterpart of main, by translation.

    Raises:
        PromptError: main could not be translated.
    """
    from crosslatent.core.languages import UNKNOWN, identify
    from crosslatent.tasks import Item

    spoken = lang or identify(main)
    if spoken is None:
        raise PromptError(
            "The language of the main prompt cannot be identified: give it with --lang."
        )
    item = Item("main", spoken, UNKNOWN, main, "")
    (made,), failures = translate([item])
    for reason in failures.values():
        raise PromptError(f"The main prompt was not translated: {reason}")
    if save is not None:
        from crosslatent.translate import write_parallel

        write_parallel([made], save)
    return made.aux


def _prompts(main: str | None, aux: str | None) -> tuple[str, str | None]:
    if main is None:
        raise PromptError("There is no main prompt: give the one to answer with --main TEXT.")
    if aux is None:
        raise PromptError(
            "The main prompt has no counterpart: give the same question in the other language with "
            "--aux TEXT, or have it translated with --aux auto."
        )
    return prompt_text(main, "main"), None if aux == AUTO else prompt_text(aux, "aux")


def _print(result: TransplantResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True, expand=False)
    table.add_column("unmodified")
    table.add_column(_title(result))
    table.add_row(
        Text(result.vanilla.strip() or "(nothing)"), Text(result.output.strip() or "(nothing)")
    )
    console().print(table)
    before = f", and {result.positions - 1} before it" if result.positions > 1 else ""
    print_text(
        f"replaced at main's token {result.main_length} of {result.main_length}, "
        f"{result.main_token!r}{before}; captured at aux's token {result.aux_length} of "
        f"{result.aux_length}, {result.aux_token!r}{before}",
        style="dim",
    )


def _title(result: TransplantResult) -> str:
    first = TransplantSpec(result.component, result.source, result.target)
    names = [f"{one.component} {one.source} -> {one.target}" for one in (first, *result.also)]
    strength = f" (strength {result.strength:g})" if result.strength != 1 else ""
    return ", ".join(names) + strength
