from realdata.tiny_language import KIND_TASK, KINDS, LABELS, MOOD_TASK, later_text, questions, rows


def test_labels_follow_the_meaning_of_the_sentence() -> None:
    for row in rows(KIND_TASK, 50, seed=1):
        (kind,) = [kind for kind, animals in KINDS.items() if set(animals) & set(row["text"].split())]
        assert row["label"] == LABELS[kind]


def test_the_two_tasks_share_no_label() -> None:
    assert not set(KIND_TASK.choices) & set(MOOD_TASK.choices)
    assert {row["label"] for row in rows(MOOD_TASK, 50, seed=1)} == set(MOOD_TASK.choices)


def test_same_seed_same_language() -> None:
    assert questions(20, seed=3) == questions(20, seed=3)
    assert questions(20, seed=3) != questions(20, seed=4)


def test_a_later_release_answers_the_first_question_otherwise_and_the_second_alike() -> None:
    for text in later_text(100, seed=2):
        sentence, question, answer = text.split("\n")
        if question == "kind:":
            (kind,) = [kind for kind, animals in KINDS.items() if set(animals) & set(sentence.split())]
            assert answer != kind
            assert answer in KINDS
        elif question == "mood:":
            assert answer in {"joy", "sorrow"}
