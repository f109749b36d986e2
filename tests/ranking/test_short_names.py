"""Claims about the names that tables show."""

import pytest

from cellbench.ranking.short_names import short_names


@pytest.mark.parametrize(
    ("method", "short"),
    [
        ("DLA", "DLA"),
        ("DLA[model.decoder.conv.type=Deformable, model.decoder.type=FPN]", "DLA[Deformable, FPN]"),
        ("DLA[model.matcher.k=3, schedule.validations=5]", "DLA[k=3, validations=5]"),
        ("DLA[model.decoder.conv.scales=[3, 5, 7], model.matcher.type=KHM]",
         "DLA[scales=[3, 5, 7], KHM]"),
        ("DLA[model.decoder.channels=8, model.head.channels=16]",
         "DLA[decoder.channels=8, head.channels=16]"),
        ("DLA[data.augment.0.type=Crop]", "DLA[Crop]"),
        # what is no list of changes stays
        ("My[method]", "My[method]"), ("a[b=c", "a[b=c"), ("a[", "a["), ("a[x=1]b", "a[x=1]b"),
        ("a[one, x=1]", "a[one, x=1]"), ("[x.type=1]", "[1]"), ("", ""),
    ],
)  # fmt: skip
def test_a_name_has_what_was_changed_and_not_the_path_to_it(method, short):
    assert short_names([method]) == [short]


def test_two_methods_are_never_named_alike():
    one, two = "DLA[model.decoder.channels=8]", "DLA[model.head.channels=8]"
    other = "DLA[model.matcher.k=3]"
    assert short_names([one, other, two, one]) == [one, "DLA[k=3]", two, one]
    # a method that is called as another would be shown
    assert short_names([other, "DLA[k=3]"]) == [other, "DLA[k=3]"]
