"""Tables come in the encodings of the world; a doubtful guess is told, and a damaged byte costs its place alone."""

from __future__ import annotations

import pytest

from mse_pipeline.corpora.text import check_encoding, decode_file, guess_encoding
from mse_pipeline.errors import UsageError

KOREAN = ("안녕하세요 정말 기뻐요", "오늘은 슬퍼요, 정말로", "아니 왜 그랬어요")
JAPANESE = ("今日はとても嬉しいです", "そうですか、残念です", "ありがとう、またね")
CHINESE = ("我今天很高兴", "今天天气不错", "你为什么要走")
TRADITIONAL = ("我今天很高興", "今天天氣不錯，謝謝", "你為什麼要走")
RUSSIAN = ("Я очень рад тебя видеть", "Мне грустно сегодня", "Не знаю, что сказать")
FRENCH = ("C’est très bien, merci", "Où es-tu allé hier soir", "Déjà là")
TURKISH = ("Evet şimdi", "Teşekkür ederim ağabey", "Çok üzgünüm")
CZECH = ("Jsem velmi šťastný", "Příliš žluťoučký kůň", "Dobře, děkuji")
GREEK = ("Είμαι πολύ χαρούμενος", "Σε ευχαριστώ", "Όχι σήμερα")
HEBREW = ("אני מאוד שמח", "תודה רבה לך", "לא היום")
ARABIC = ("أنا سعيد جدا", "شكرا جزيلا لك", "لا أعرف")


def lines(texts):
    rows = [f"{place},a.wav,train,{text},joy" for place, text in enumerate(texts)]
    return "\r\n".join(["id,media,split,text,label", *rows, "9,b.wav,test,plain words,anger", ""])


@pytest.mark.parametrize("rows", [1, 3], ids=["one text", "three texts"])
@pytest.mark.parametrize(
    ("texts", "encoding"),
    [
        (KOREAN, "euc-kr"),
        (KOREAN, "cp949"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb18030"),
        (CHINESE, "gbk"),
        (TRADITIONAL, "big5"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (FRENCH, "cp1252"),
        (TURKISH, "cp1254"),
        (CZECH, "cp1250"),
        (GREEK, "cp1253"),
        (HEBREW, "cp1255"),
        (ARABIC, "cp1256"),
        *((texts, "utf-8") for texts in (KOREAN, JAPANESE, CHINESE, RUSSIAN, FRENCH, ARABIC)),
        *((CHINESE, name) for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        (FRENCH, "utf-16-le"),
    ],
)
def test_texts_are_read_in_the_encoding_that_they_are_in(texts, encoding, rows):
    content = lines(texts[:rows])
    decoded = decode_file(content.encode(encoding), "Table clips.csv")
    assert decoded.text == content
    assert ("was read as" in decoded.note) == (not encoding.startswith("utf-8"))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("네", "euc-kr"),
        ("はい", "shift_jis"),
        ("你好", "gb18030"),
        ("Да", "cp1251"),
        ("Да", "koi8-r"),
        ("Dobře", "cp1250"),
        ("Ναι", "cp1253"),
        ("喜,怒", "gb18030"),  # sound UTF-8 by chance
    ],
)
def test_a_guess_from_a_word_or_two_is_told_as_doubtful(text, encoding):
    note = decode_file(f"id,text\n1,{text}\n".encode(encoding), "Table clips.csv").note
    assert "doubtful guess: as " in note
    assert "--encoding" in note


def test_english_with_the_marks_of_word_is_not_doubtful():
    data = b"id,text\n" + b"1,it\x92s over\n2,\x93No\x94 \x96 he said\x85\n" * 3
    decoded = decode_file(data, "Table clips.csv")
    assert (decoded.encoding, decoded.note) == ("cp1252", "Table clips.csv was read as cp1252 (Western European).")
    assert "it’s over" in decoded.text


@pytest.mark.parametrize(
    ("damaged", "left"),
    [
        ("你好世界".encode().replace("世".encode(), b"\xe4\xb8"), "你好\ufffd界"),
        ("你好世界".encode().replace("世".encode(), b"\xff"), "你好\ufffd界"),
        ("你好世界".encode()[:-1], "你好世\ufffd"),
        ("你好世界".encode()[1:], "\ufffd\ufffd好世界"),
        ("你好世界".encode().replace("世".encode(), b"\xed\xa0\x80"), "你好\ufffd\ufffd\ufffd界"),
        ("你好世界".encode().replace("世".encode(), b"\0"), "你好\ufffd界"),
    ],
)
def test_damaged_bytes_of_utf8_cost_their_place_alone(damaged, left):
    sound = "我今天很高兴\n今天天气不错\n" * 20
    decoded = decode_file(sound.encode() + damaged + b"\n" + sound.encode(), "Table clips.csv")
    assert decoded.text == f"{sound}{left}\n{sound}"
    assert decoded.encoding == "utf-8"


def test_damage_in_accented_text_is_no_reason_to_read_it_as_cp1252():
    decoded = decode_file("déjà vu\nça va\nit".encode() + b"\x92s\n", "Table clips.csv")
    assert decoded.text == "déjà vu\nça va\nit\ufffds\n"


@pytest.mark.parametrize("damaged", [b"no\xff!", b"caf\xc3", b"th\x81s", b"\xe2\x80"])
def test_a_damaged_byte_among_ascii_is_no_letter_that_nobody_writes(damaged):
    decoded = decode_file(b"id,text\n1,Well\n2," + damaged + b"\n3,done\n", "Table clips.csv")
    assert decoded.text == "id,text\n1,Well\n2," + damaged.decode("utf-8", "replace") + "\n3,done\n"
    assert "doubtful guess: as " in decoded.note


@pytest.mark.parametrize("text", ["café", "£5", "it’s", "¿Qué?", "20 °C", "señor", "—", "Åse"])
def test_a_single_letter_of_western_europe_is_read(text):
    assert decode_file(f"id,text\n1,{text}\n".encode("cp1252"), "Table clips.csv").text == f"id,text\n1,{text}\n"


def test_a_damaged_byte_in_an_older_encoding_leaves_the_other_rows():
    rows = [text.encode("euc-kr") for text in KOREAN * 3]
    rows[4] = rows[4][:-1]
    decoded = decode_file(b"\n".join(rows), "Table clips.csv")
    assert decoded.encoding == "cp949"
    assert decoded.text.split("\n")[:4] == [*KOREAN, KOREAN[0]]
    assert decoded.text.split("\n")[5:] == [KOREAN[2], *KOREAN]


def test_the_encoding_that_is_told_is_used():
    data = "네".encode("euc-kr")
    assert decode_file(data, "Table a.csv", "euc-kr").text == "네"
    assert decode_file(b"\xef\xbb\xbfid", "Table a.csv", "utf-8").text == "id"
    with pytest.raises(UsageError, match=r"Table a\.csv is not in the encoding utf-8"):
        decode_file("안녕하세요".encode("euc-kr"), "Table a.csv", "utf-8")


@pytest.mark.parametrize("name", ["eucc", "base64", "zip", "idna", "unicode_escape", "", "a\0b", "utf 8 or so"])
def test_names_of_no_encoding_of_text_are_refused(name):
    with pytest.raises(ValueError, match="there is no encoding"):
        check_encoding(name)


@pytest.mark.parametrize("data", [b"\x00\x01\x02\x03", bytes(range(256)) * 8])
def test_what_is_no_text_is_refused(data):
    with pytest.raises(UsageError, match=r"Table a\.csv is"):
        decode_file(data, "Table a.csv")


def test_what_no_encoding_reads_is_refused():
    data = bytes(range(128, 256)) * 8
    with pytest.raises(UsageError, match="in any of the usual encodings"):
        guess_encoding(data, "Table a.csv")


@pytest.mark.parametrize("text", ["Zażółć gęślą jaźń", "Příliš žluťoučký kůň úpěl", "Myślę że się śmiejesz"])
def test_central_european_text_is_read_in_either_of_its_encodings(text):
    for name in ("cp1250", "iso8859_2"):
        assert decode_file(text.encode(name), "a.csv").text == text


def test_turkish_text_is_read_or_doubted():
    told = decode_file("Çok mutluyum bugün görüşürüz şimdi".encode("cp1254"), "a.csv")
    assert "doubtful guess: as cp1254 it would read" in told.note
