"""Bytes of label files -> text: the encoding is detected, and the damage of earlier conversions is repaired.

charset-normalizer measures how disordered a text looks when it is decoded (`mess_ratio`). This does not separate the
East Asian encodings, since bytes of one are valid in the others. So the share of characters that are frequent in the
languages of an encoding counts, too. Tables are short: a few words must be enough.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from mse_pipeline.errors import UsageError, did_you_mean

REPLACED = "\N{REPLACEMENT CHARACTER}"
"""What stands in a text for bytes that are not text."""

_HANZI = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实很吗吧呢啊哦嗯谢知高兴今爱情喜欢什怎吃喝听"
    "话问题走快真气妈爸请再见错给让跟把被太最晚早安笑哭怕死钱孩女男老师朋友"
)
_HANZI_TRADITIONAL = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方"
    "多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實很嗎吧呢啊哦嗯謝知高興今愛情喜歡什怎吃喝聽"
    "話問題走快真氣媽爸請再見錯給讓跟把被太最晚早安笑哭怕死錢孩女男老師朋友"
)
_HANGUL = (
    "이다에의는로하을가고지서한은기으년대사시를리도인스일안녕세요정말뻐오늘네아니그거나우내너저게있없어해했습까같좋싫보만들라자면생각"
    "슬퍼"
)
_KANA = "".join(map(chr, range(0x3041, 0x30FF)))
_CYRILLIC = "оеаинтсрвлкмдпу"
_TYPE = "’‘“”–—…«»"


@dataclass(frozen=True)
class _Candidate:
    """An encoding that tables come in.

    Attributes:
        language: Whose texts are in it, for what users are told.
        familiar: The characters that its languages use most.
        level: Codec and first bytes of its frequent characters, where the standard parts them from the rare ones.
        latin: Whether its letters stand in one word with ASCII's.
    """

    language: str
    familiar: str
    level: tuple[str, int, int] | None = None
    latin: bool = False


# Of two that read the same bytes alike, the first is taken.
_CANDIDATES = {
    "gb18030": _Candidate("Chinese", _HANZI, ("gb2312", 0xB0, 0xD7)),
    "cp1252": _Candidate("Western European", "éèàùâêîôûçëïüöäßñáíóúåøæãõ¿¡£€°©®½·" + _TYPE, latin=True),
    "cp949": _Candidate("Korean", _HANGUL, ("euc_kr", 0xB0, 0xC8)),
    "cp932": _Candidate("Japanese", _KANA, ("shift_jis", 0x88, 0x97)),
    "big5": _Candidate("traditional Chinese", _HANZI_TRADITIONAL, ("big5", 0xA4, 0xC6)),
    "euc_jp": _Candidate("Japanese", _KANA, ("shift_jis", 0x88, 0x97)),
    "cp1251": _Candidate("Cyrillic", _CYRILLIC + _TYPE),
    "koi8_r": _Candidate("Cyrillic", _CYRILLIC),
    "cp1250": _Candidate("Central European", "ąćęłńśźżčďěňřšťůžőűáéíóúýöüđ" + _TYPE, latin=True),
    "iso8859_2": _Candidate("Central European", "ąćęłńśźżčďěňřšťůžőűáéíóúýöüđ", latin=True),
    "cp1254": _Candidate("Turkish", "ğışİçöü" + _TYPE, latin=True),
    "cp1253": _Candidate("Greek", "ατοιενρσκηπςυμλάέήίόύώ" + _TYPE),
    "cp1255": _Candidate("Hebrew", "יוהלאברמתשנחדכםן" + _TYPE),
    "cp1256": _Candidate("Arabic", "اليمنوترهبسعد" + _TYPE),
}
_ICELANDIC = frozenset("þðýÞÐÝ")
_EAST_ASIAN_POINTS = "，。！？、：；“”‘’…—《》「」（）　～·"
_WORD = re.compile(rb'[^\s,;"]*[\x80-\xff][^\s,;"]*')
_CUT_SHORT = re.compile(rb"[\xe0-\xef][\x80-\xbf](?![\x80-\xbf])|[\xf0-\xf4][\x80-\xbf]{1,2}(?![\x80-\xbf])")
"""The begin of a sign of UTF-8 that lacks its end."""

_SAMPLE = 4096  # bytes of words with signs beyond ASCII; more tell no more
_PIECE, _PIECES = 1 << 16, 64  # bytes of a piece of a large file, of which so many are looked at
_FEW = 4  # signs, below which chance reads many a text as another one
_CLOSE = 0.2
_SURE = 0.8
_UNLIKELY = 0.45  # of a score: half of the signs are letters of the encoding's languages, but of no use in them
_NO_TEXT = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem", "utf-7"}
_OFTEN = ("utf-8", "utf-16", "gb18030", "big5", "euc-kr", "shift_jis", "euc-jp", "cp1251", "koi8-r", "cp1252", "cp1250")


@dataclass(frozen=True)
class Guess:
    """What bytes are read as.

    Attributes:
        encoding: Python's name of it.
        language: Whose texts are in it, as in ``Korean``.
        doubt: What else the bytes may be, as a part of a sentence; empty where the guess is sure.
    """

    encoding: str
    language: str
    doubt: str


def check_encoding(name: str) -> str:
    """An encoding that someone names, as Python calls it.

    Raises:
        ValueError: There is no such encoding of text.

    Examples:
        >>> check_encoding("EUC-KR"), check_encoding("utf8")
        ('euc_kr', 'utf-8')
    """
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        codec = None
    # Python also calls base64 and zip codecs, which make bytes of bytes.
    if codec is None or codec.name.replace("_", "-") in _NO_TEXT or not getattr(codec, "_is_text_encoding", True):
        raise ValueError(
            f"there is no encoding {name!r}{did_you_mean(name, _OFTEN)}; often met are {', '.join(_OFTEN)}"
        )
    return codec.name


def guess_encoding(data: bytes, source: str) -> Guess:
    """The likeliest encoding of bytes beyond ASCII, UTF-8 with a few damaged bytes among the possible ones.

    Args:
        data: Of a whole file.
        source: How errors call the file.

    Raises:
        UsageError: It reads as text in none of the encodings.
    """
    sample = _sample(data)
    signs, damage = utf8_signs(sample)
    if not damage and (signs or _is_utf8(data)):
        # Two letters of an East Asian encoding may be sound UTF-8 by chance, and then are letters that nobody uses.
        return Guess("utf-8", "", "" if signs else _doubt_of_utf8(sample))
    ranked = sorted(((_score(sample, name), name) for name in _CANDIDATES), key=lambda pair: -pair[0])
    best, name = ranked[0]
    if signs >= 2 * damage or (signs >= damage and best < _SURE):
        return Guess("utf-8", "", _as(name, sample) if best > 0.6 and signs < _FEW else "")
    if best < -0.5:
        raise UsageError(
            f"{source} cannot be decoded in any of the usual encodings. Save it as UTF-8, or name its encoding with "
            "the option encoding."
        )
    few = sum(not sign.isascii() for sign in sample.decode(name, "replace")) < _FEW
    if few and _is_western(sample):
        name, best = "cp1252", max(best, _UNLIKELY)
    elif few and best < _SURE and _is_damage(sample, best):
        return Guess("utf-8", "", _as(name, sample))
    text = sample.decode(name, "replace")
    second = next(
        ((score, other) for score, other in ranked[1:] if sample.decode(other, "replace") != text), (-1.0, "")
    )
    # Letters of Iceland alone stand where Turkish has its own.
    doubtful = best < _UNLIKELY or best - second[0] < _CLOSE or (few and name != "cp1252")
    doubtful = doubtful or (name == "cp1252" and not _ICELANDIC.isdisjoint(text))
    return Guess(name, _CANDIDATES[name].language, _as(second[1], sample) if doubtful and second[1] else "")


def _is_western(sample: bytes) -> bool:
    """Whether all signs beyond ASCII are what Western Europe writes, capitals at the begin of a word alone."""
    usual = _CANDIDATES["cp1252"].familiar
    return not _CUT_SHORT.search(sample) and all(
        sign.isascii() or (_fits(word, index, "cp1252") and (sign in usual or (index == 0 and sign.lower() in usual)))
        for word in sample.decode("cp1252", "replace").split()
        for index, sign in enumerate(word)
    )


def _is_damage(sample: bytes, best: float) -> bool:
    """Whether signs beyond ASCII are damage: cut short, or single bytes that nobody writes there."""
    single = all(len(run) == 1 for run in re.findall(rb"[\x80-\xff]+", sample))
    return _CUT_SHORT.search(sample) is not None or (single and best < _UNLIKELY)


def _doubt_of_utf8(sample: bytes) -> str:
    """Whether a sample that is sound UTF-8 reads better as something else."""
    best, name = max((_score(sample, name), name) for name in _CANDIDATES)
    return _as(name, sample) if best >= 0.4 else ""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _as(encoding: str, sample: bytes) -> str:
    return f"as {encoding} it would read {sample.decode(encoding, 'replace')[:20]!r}"


def utf8_signs(data: bytes) -> tuple[int, int]:
    r"""How many signs beyond ASCII are sound UTF-8, and how many places are damaged.

    Sound by chance is what no language of the candidates uses: those count as no sign.

    Examples:
        >>> utf8_signs("好".encode() + b"\xe4\xb8,x"), utf8_signs("你好".encode("gb18030"))
        ((1, 1), (0, 3))
    """
    text = data.decode("utf-8", "replace")
    damage = text.count(REPLACED) - data.count(REPLACED.encode())
    usual = sum(not sign.isascii() and sign != REPLACED and _is_usual(sign) for sign in text)
    return usual, damage


@lru_cache(maxsize=4096)
def _is_usual(sign: str) -> bool:
    # Three bytes that follow UTF-8's rule are no accident, two may be: hence the letters that languages use.
    return ord(sign) > 0x7FF or any(sign in candidate.familiar for candidate in _CANDIDATES.values())


def _sample(data: bytes) -> bytes:
    """Words with signs beyond ASCII, from all over the file."""
    if len(data) > _PIECES * _PIECE:
        starts = range(0, len(data), len(data) // _PIECES)
        pieces = [data[start : start + _PIECE] for start in starts]
        # Whole lines, as a piece may begin within a sign.
        data = b"\n".join(piece[piece.find(b"\n") + 1 : piece.rfind(b"\n") + 1] for piece in pieces)
    words = _WORD.findall(data)
    step = max(1, sum(map(len, words)) // _SAMPLE)
    return b" ".join(words[::step])[: 2 * _SAMPLE]


def _score(sample: bytes, encoding: str) -> float:
    """How much a sample looks like text in an encoding: 1 where all signs are its languages' usual ones."""
    from charset_normalizer.md import mess_ratio

    text = sample.decode(encoding, "replace")
    signs, weight = 0, 0.0
    for word in text.split():
        for index, sign in enumerate(word):
            if not sign.isascii():
                signs += 1
                weight += _weight(sign, encoding) if _fits(word, index, encoding) else 0.0
    if not signs:
        return -1.0
    return weight / signs - mess_ratio(text, 1.0) - 3.0 * text.count(REPLACED) / signs


def _fits(word: str, place: int, encoding: str) -> bool:
    """Whether a letter may stand in its word: no language mixes alphabets, and few words have accented letters only."""
    candidate = _CANDIDATES[encoding]
    if candidate.level or not word[place].isalpha():
        return True
    around = word[max(place - 1, 0) : place] + word[place + 1 : place + 2]
    if candidate.latin:
        letters = [letter for letter in word if letter.isalpha()]
        return len(letters) == 1 or any(letter.isascii() for letter in letters)
    return not any(letter.isascii() and letter.isalpha() for letter in around)


@lru_cache(maxsize=1 << 16)
def _weight(sign: str, encoding: str) -> float:
    candidate = _CANDIDATES[encoding]
    if sign in candidate.familiar:
        return 1.0
    if candidate.level:
        codec, first, last = candidate.level
        try:
            lead = sign.encode(codec)[0]
        except UnicodeEncodeError:
            return 0.0
        return 0.4 if first <= lead <= last else 0.5 if sign in _EAST_ASIAN_POINTS else 0.0
    return {"Ll": 0.4, "Lo": 0.4, "Lu": 0.1}.get(unicodedata.category(sign), 0.0)


_MARK = "\ufeff"
# UTF-32's mark begins with that of UTF-16.
_MARKS = (
    ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
    ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
)

# What turns ASCII into the characters of two bytes a sign.
_ESCAPES = ((b"\x1b$)C", "iso2022_kr"), (b"\x1b$B", "iso2022_jp_ext"), (b"\x1b$@", "iso2022_jp_ext"))


def _cp1252(code: int) -> str:
    # Five of the 32 places are empty in cp1252; the replacement sign keeps the damage visible.
    return bytes([code]).decode("cp1252", errors="replace")


_REPAIR = {code: _cp1252(code) for code in range(0x80, 0xA0)} | {0xA0: " "}
_C1 = re.compile("[\x80-\x9f]")


def repair(text: str) -> str:
    r"""Map C1 controls through cp1252 and no-break spaces to spaces.

    Text that was once read as Latin-1 instead of cp1252 holds C1 controls (U+0080 to U+009F) in the place of quotes
    and dashes, and is valid UTF-8, so that no decoding error tells. Nobody writes C1 controls on purpose.

    Examples:
        >>> repair("he\x92s lost it\x85")
        'he’s lost it…'
    """
    return text.translate(_REPAIR)


def c1_controls(text: str) -> int:
    r"""How many C1 controls a text holds.

    Examples:
        >>> c1_controls("he\x92s"), c1_controls("he’s")
        (1, 0)
    """
    return len(_C1.findall(text))


@dataclass(frozen=True)
class DecodedText:
    """The text of a label file.

    Attributes:
        text: `encodings.REPLACED` stands in the place of damaged bytes.
        encoding: Python's name of it, as in ``utf-8``.
        note: What the user should know of it, as sentences; empty for sound UTF-8.
    """

    text: str
    encoding: str
    note: str


def decode(data: bytes, source: str) -> tuple[str, str]:
    r"""Decode a label file, as `decode_file` does, whose note is passed over.

    Args:
        data: The file's bytes.
        source: How errors call the file.

    Returns:
        The text, and the name of the encoding it was in.

    Raises:
        UsageError: It is not text.

    Examples:
        >>> decode("平静".encode("gb18030"), "a.csv"), decode(b"don\x92t", "b.csv")
        (('平静', 'gb18030'), ('don’t', 'cp1252'))
    """
    decoded = decode_file(data, source)
    return decoded.text, decoded.encoding


def decode_file(data: bytes, source: str, encoding: str | None = None) -> DecodedText:
    """Decode a label file: UTF-8, UTF-16 with or without its mark, else the likeliest of the world's older encodings.

    Damaged bytes cost the place where they stand and nothing else.

    Args:
        data: The file's bytes.
        source: How errors call the file.
        encoding: That it is in, where someone tells; None to find out.

    Raises:
        UsageError: It is not text, or not in the encoding that was told.
    """
    if encoding is not None:
        return _as_told(data, source, encoding)
    for marks, name in _MARKS:
        if data.startswith(marks):
            return _wide(data, source, name)
    wide = _wide_without_mark(data) if b"\0" in data else None
    if wide is not None:
        return _wide(data, source, wide)
    zeros = data.count(b"\0")
    if zeros * 50 > len(data) or (zeros > 1 and zeros * 1000 > len(data)):
        raise UsageError(f"{source} is not a text file: it holds zero bytes. A table is a .csv, .tsv or .parquet file.")
    # A few zero bytes, as a disk leaves them that was not unmounted, are damage like any other.
    data = data.replace(b"\0", REPLACED.encode())
    if data.isascii():
        return _escaped(data, source) or DecodedText(data.decode("ascii"), "utf-8", "")
    guess = guess_encoding(data, source)
    if guess.encoding == "utf-8":
        text = data.decode("utf-8", "replace").lstrip(_MARK)
        damaged = text.count(REPLACED) > data.count(REPLACED.encode())
        message = f"{source} was read as utf-8; some bytes are not UTF-8, and each is a defect of its row."
        note = message if damaged or guess.doubt else ""
    else:
        text = data.decode(guess.encoding, "replace")
        note = f"{source} was read as {guess.encoding} ({guess.language})."
    if guess.doubt:
        note = (
            f"{source} was read as {guess.encoding}, which is a doubtful guess: {guess.doubt}. Save the file as UTF-8, "
            "or name its encoding with --encoding or the option encoding."
        )
    return DecodedText(text, guess.encoding, note)


def is_damaged(text: str) -> bool:
    r"""Whether a text holds encoding damage, which `repair` mends or which has cost signs for good.

    Examples:
        >>> is_damaged("he\x92s"), is_damaged("caf\ufffd"), is_damaged("he’s")
        (True, True, False)
    """
    return REPLACED in text or repair(text) != text


def _as_told(data: bytes, source: str, encoding: str) -> DecodedText:
    name = check_encoding(encoding)
    if name == "utf-8":
        name = "utf-8-sig"
    text = data.decode(name, "replace").lstrip(_MARK)
    lost = text.count(REPLACED)
    beyond = sum(not sign.isascii() for sign in text)
    if lost * 4 > beyond:
        raise UsageError(
            f"{source} is not in the encoding {encoding}: {lost:,} of its {beyond:,} signs beyond ASCII cannot be "
            "read. Give another --encoding, or leave it out to have the encoding detected."
        )
    return DecodedText(text, name.removesuffix("-sig"), f"{source} was read as {encoding}, as requested.")


def _escaped(data: bytes, source: str) -> DecodedText | None:
    """Text of an encoding whose bytes are all ASCII, as mails from Japan and Korea are; None where it is none."""
    for begin, name in _ESCAPES:
        if begin in data:
            text = data.decode(name, "replace")
            if REPLACED not in text:
                return DecodedText(text, name, f"{source} was read as {name}.")
    return None


def _wide(data: bytes, source: str, name: str) -> DecodedText:
    """Text of two or four bytes a sign."""
    text = data.decode(name, "replace").lstrip(_MARK)
    if text.count(REPLACED) * 100 > len(text) or "\0" in text:
        raise UsageError(f"{source} begins like {name.upper()} text but is none. Save it as UTF-8.")
    return DecodedText(text, name, f"{source} was read as {name}.")


def _wide_without_mark(data: bytes) -> str | None:
    """UTF-16 without its mark: the signs that part cells are ASCII, so that every second byte of them is zero."""
    head = data[:4096]
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        # The head may end within a sign of four bytes.
        begin = head[: len(head) // 2 * 2].decode(name, "replace").strip(_MARK + REPLACED)
        sound = begin and all((sign.isprintable() or sign.isspace()) and sign != REPLACED for sign in begin)
        if sound and zeros.count(0) * 3 > len(zeros):
            return name
    return None
