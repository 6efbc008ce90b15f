"""``crosslatent transplant``: one question, with a transplant as given or as a selector chooses."""

# Annotations are evaluated in this module, since they hold the settings (`core.settings`).

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crosslatent.cli import asked_questions as questions
from crosslatent.cli import command_options as options
from crosslatent.cli.terminal import print_answers, print_json, print_text, warn
from crosslatent.core import shared_settings as shared
from crosslatent.core.errors import PairError, PromptError
from crosslatent.core.languages import UNKNOWN
from crosslatent.core.settings import Panel, Setting, path, settings_of
from crosslatent.core.specs import AsChat, TransplantSpec, chat_of, right_now

if TYPE_CHECKING:
    from crosslatent.api.transplants import Selected, TransplantResult
    from crosslatent.model import Model


class PromptSettings(questions.TranslationSettings, total=False):
    """The question, and its counterpart."""

    main: Annotated[
        str | None, Setting("The prompt that gets answered.", "TEXT|@FILE", panel=Panel.QUESTIONS)
    ]
    aux: Annotated[
        str | None,
        Setting(
            "Its counterpart, which the vector comes from; auto translates main.",
            "TEXT|@FILE|auto",
            panel=Panel.QUESTIONS,
        ),
    ]


@options.command
def transplant(
    model: options.ModelSettings,
    prompts: PromptSettings,
    about: shared.AboutSettings,
    carried: shared.CarriedSettings,
    answer: shared.AnswerSettings,
    selector: Annotated[
        Path | None,
        path(
            "Instead of component, layers and preset: what 'improve' or 'select --save' kept.",
            "FILE",
            flags=("--chooser", "--selector"),
            panel=Panel.CARRIED,
        ),
    ],
    json: options.JsonOption,
) -> None:
    """Carry one activation from aux to main, and show the answer beside the unmodified one."""
    options.check_model(model)
    check_alone(selector, carried, about)
    # With a selector and neither of --chat and --no-chat, its run decides about both.
    if answer["chat"] is not None or selector is None:
        options.check_chat(answer)
    if selector is None:
        options.check_layers(model["model"], [shared.transplant_of(carried), *carried["also"]])
    else:
        options.check_chooser(selector, model["model"])
    main, aux = _prompts(prompts["main"], prompts["aux"])
    questions.check_parallel(prompts["save_parallel"], aux is None, None)
    loaded = options.load_model(model)
    given = answer["chat_args"] if answer["chat"] else None
    chat = chat_of(answer["chat"], given, right_now())
    if aux is None:
        maker = questions.CounterpartMaker(loaded, prompts, model, about["aux_lang"], chat)
        aux = _translated(maker, main, about["lang"], prompts["save_parallel"])
    if selector is not None:
        transplant_by(selector, loaded, main, aux, about, answer, as_json=json)
        return
    from crosslatent.api.transplants import transplant

    result = transplant(loaded, main=main, aux=aux, **carried, **answer)
    _warn(loaded, main, result, chat, answer["max_new_tokens"] or shared.NEW_TOKENS)
    if json:
        print_json(result.to_dict() | {"main": main, "aux": aux})
    else:
        _print(result)


def check_alone(
    selector: Path | None, carried: shared.CarriedSettings, about: shared.AboutSettings
) -> None:
    """Refuse what a selector chooses itself, or took over from the run that it was fitted on.

    Args:
        selector: its file; None = the pair is given.
        carried: what else says what is carried across.
        about: the question; only a selector reads its options.

    Raises:
        PairError: something of that is given too, or options without a selector.
    """
    if selector is None:
        if about["options"]:
            raise PairError(
                f"--options is {','.join(about['options'])!r}, but only a selector reads it: give "
                "--selector FILE, or leave --options out."
            )
        return
    settings = settings_of(shared.CarriedSettings)
    named = [name for name, value in carried.items() if value != settings[name].default]
    taken = [f"--{name}" for name in named if name in ("strength", "positions")]
    if taken:
        raise PairError(
            f"--selector takes strength and positions from the run that it was fitted on, but "
            f"{', '.join(taken)} is given too: leave one of the two out."
        )
    if named:
        given = ", ".join(f"--{name}" for name in named)
        raise PairError(
            f"--selector chooses the pair itself, but {given} is given too: leave one of the two "
            "out."
        )


def transplant_by(
    selector: Path,
    model: "Model",
    main: str,
    aux: str,
    about: shared.AboutSettings,
    answer: shared.AnswerSettings,
    *,
    as_json: bool,
) -> None:
    """Answer main with what a saved selector chooses, and print it.

    Args:
        selector: what `crosslatent select --save` kept.
        model: the model.
        main: the prompt that is answered.
        aux: its counterpart.
        about: what is known about the question.
        answer: how it is answered; what is not given is as in the selector's run.
        as_json: print JSON.

    Raises:
        UsageError: the selector cannot be read, or was fitted on another kind of model.
        PromptError: a prompt is empty, or longer than the context.
    """
    from crosslatent.api.choosers import load_chooser
    from crosslatent.tasks import Item
    from crosslatent.tasks.item import check_judging

    lang, possible = about["lang"] or UNKNOWN, tuple(about["options"] or ())
    item = Item("question", lang, about["aux_lang"], main, aux, options=possible or None)
    check_judging(item, "the question")
    (selected,) = load_chooser(selector).answer(model, [item], force=True, **answer)
    for text in selected.warnings:
        warn(text)
    if selected.trained_on:
        warn(
            "the selector was fitted on this question (1 of 1 was trained on): its choice here "
            "says nothing of others."
        )
    if as_json:
        print_json(selected.to_dict() | {"main": main, "aux": aux})
    else:
        _print_selected(selected)


def _warn(
    model: "Model", main: str, result: "TransplantResult", chat: AsChat, new_tokens: int
) -> None:
    """What speaks against comparing the two answers."""
    from crosslatent.model.chat import Prompt

    questions.warn_of_thought(model, Prompt(main), chat, new_tokens)
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


def _translated(
    translate: questions.CounterpartMaker, main: str, lang: str | None, save: Path | None
) -> str:
    """The counterpart of main, by translation.

    Raises:
        PromptError: main could not be translated.
    """
    from crosslatent.core.languages import UNKNOWN, identify
    from crosslatent.tasks import Item
    from crosslatent.tasks.counterpart_checks import leaks

    spoken = lang or identify(main)
    if spoken is None:
        raise PromptError(
            "The language of the main prompt cannot be identified: give it with --lang."
        )
    (made,), failures = translate([Item("main", spoken, UNKNOWN, main, "")])
    for reason in failures.values():
        raise PromptError(f"The main prompt was not translated: {reason}")
    if save is not None:
        from crosslatent.translate import write_parallel

        write_parallel([made], save)
    for sentence in leaks([made]):
        warn(sentence)
    return made.aux


def _prompts(main: str | None, aux: str | None) -> tuple[str, str | None]:
    if main is None:
        raise PromptError("There is no main prompt: give the one to answer with --main TEXT.")
    if aux is None:
        raise PromptError(
            "The main prompt has no counterpart: give the same question in the other language with "
            "--aux TEXT, or have it translated with --aux auto."
        )
    return _prompt(main, "main"), None if aux == questions.AUTO else _prompt(aux, "aux")


def _prompt(text: str, role: str) -> str:
    """A prompt as given: the text itself, or with ``@FILE`` that file's content.

    The line break that editors leave at the end of a file is not part of the prompt, whose last
    token is what a transplant touches. A text that starts with "@" is written with two.

    Raises:
        PromptError: the file cannot be read, or the prompt is empty.
    """
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = _read(text[1:], role)
    if not text.strip():
        raise PromptError(f"The {role} prompt is empty: give it some text.")
    return text


def _read(name: str, role: str) -> str:
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PromptError(
            f"Cannot read the {role} prompt from {name!r} ({reason}): give @ and a text file."
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _pair(pair: "TransplantSpec | TransplantResult") -> str:
    return f"{pair.component} {pair.source} -> {pair.target}"


def _print(result: "TransplantResult") -> None:
    strength = f" (strength {result.strength:g})" if result.strength != 1 else ""
    title = ", ".join([_pair(result), *map(_pair, result.also)]) + strength
    print_answers(["unmodified", title], [result.vanilla, result.output])
    before = f", and {result.positions - 1} before it" if result.positions > 1 else ""
    print_text(
        f"replaced at main's token {result.main_length} of {result.main_length}, "
        f"{result.main_token!r}{before}; captured at aux's token {result.aux_length} of "
        f"{result.aux_length}, {result.aux_token!r}{before}",
        style="dim",
    )


def _print_selected(selected: "Selected") -> None:
    without = {"other": "the answer to aux", "unmodified": "left unmodified"}
    what = _pair(selected.chosen) if selected.chosen else without[selected.way]
    titles = ["unmodified", f"{selected.selector}: {what}"]
    print_answers(titles, [selected.vanilla, selected.output])
    print_text(
        f"chosen out of {selected.candidates or 'no'} pairs, for {selected.cost:g} times the cost "
        "of an unmodified answer",
        style="dim",
    )
    if selected.trained_on is None:
        print_text("on which questions the selector was fitted is not known", style="dim")
