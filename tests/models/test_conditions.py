import pytest
import torch

from models.conditions import NAMES, Conditions


def conditions(batch: int = 2) -> Conditions:
    return Conditions(
        mask=torch.ones(batch, 10, dtype=torch.bool),
        visual=torch.zeros(batch, 4, 3),
        motion=torch.zeros(batch, 10, 2),
        phonemes=torch.zeros(batch, 10, dtype=torch.long),
    )


def test_what_is_given_is_present_and_what_is_not_is_absent() -> None:
    present = {name: conditions().present(name).tolist() for name in NAMES}
    assert present == {
        "visual": [True, True],
        "motion": [True, True],
        "phonemes": [True, True],
        "speaker": [False, False],
        "sync": [False, False],
        "lips": [False, False],
    }


def test_a_sample_without_a_real_frame_has_no_visual() -> None:
    seen = torch.tensor([[True] * 4, [False] * 4])
    made = Conditions(
        mask=torch.ones(2, 10, dtype=torch.bool), visual=torch.zeros(2, 4, 3), visual_mask=seen
    )
    assert made.present("visual").tolist() == [True, False]


def test_null_drops_every_condition_and_keeps_the_mask() -> None:
    null = conditions().null()
    assert not any(null.present(name).any() for name in NAMES)
    assert null.mask.all()


def test_dropping_touches_the_named_condition_in_the_named_samples_only() -> None:
    dropped = conditions().dropped({"motion": torch.tensor([True, False])})
    assert dropped.present("motion").tolist() == [True, False]
    assert dropped.present("phonemes").all() and dropped.present("visual").all()


def test_what_was_absent_stays_absent() -> None:
    kept = conditions().null().dropped({"motion": torch.tensor([True, True])})
    assert not kept.present("motion").any()


def test_a_joined_batch_holds_the_parts_in_order() -> None:
    both = Conditions.cat([conditions(), conditions().null()])
    assert both.batch == 4
    assert both.present("motion").tolist() == [True, True, False, False]
    assert both.speaker is None


def test_parts_with_different_fields_do_not_join() -> None:
    bare = Conditions(mask=torch.ones(1, 10, dtype=torch.bool))
    with pytest.raises(ValueError, match="in some of the batches"):
        Conditions.cat([bare, conditions(1)])


def test_a_condition_of_the_wrong_length_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="motion has shape"):
        Conditions(mask=torch.ones(2, 10, dtype=torch.bool), motion=torch.zeros(2, 9, 2))


def test_a_condition_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'smell'"):
        conditions().dropped({"smell": torch.tensor([True, True])})


def test_moving_keeps_every_field() -> None:
    moved = conditions().to("cpu")
    assert moved.visual is not None and moved.present("visual").all()
