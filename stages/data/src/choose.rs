//! Which images of a data set are kept.

use ablate_stage::{Split, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which images of a split are kept where not all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Choose {
    /// The first ones of each class in data-set order, equally many of each as far as the number and the classes allow.
    #[default]
    EachClass,
    /// The first ones in data-set order.
    First,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// Whether test images join the train ones.
    pub merge: bool,
    /// The classes to keep, in the order of their new labels.
    pub classes: Option<&'a [String]>,
    /// Most images of each split, by its code.
    pub counts: [Option<usize>; 3],
    /// Which of them.
    pub choose: Choose,
}

/// What is kept: `M` images of a data set, in its order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chosen {
    /// Their rows in the data set, ascending, `[M]`.
    pub rows: Vec<u32>,
    /// Their labels now, `[M]`.
    pub labels: Vec<i64>,
    /// Their splits now, `[M]`.
    pub split: Vec<Split>,
    /// The names of the classes now.
    pub classes: Vec<String>,
}

/// Chooses among the images of the data set called `name`.
///
/// # Errors
/// Where a class is not there, is named twice, or a split has fewer images than are asked for.
pub(crate) fn choose(
    name: &str,
    classes: &[String],
    labels: &[i64],
    split: &[Split],
    choice: &Choice<'_>,
) -> Result<Chosen, StageError> {
    let new_label = new_labels(name, classes, choice.classes)?;
    let of = |split| if choice.merge && split == Split::Test { Split::Train } else { split };
    let mut chosen = Chosen {
        rows: Vec::new(),
        labels: Vec::new(),
        split: Vec::new(),
        classes: choice.classes.unwrap_or(classes).to_vec(),
    };
    // (row, label, split) of what is left of the classes.
    let mut left: Vec<(u32, i64, Split)> = Vec::with_capacity(labels.len());
    for ((row, &label), &found) in (0..).zip(labels).zip(split) {
        match usize::try_from(label) {
            Err(_) => left.push((row, -1, of(found))),
            Ok(label) => left.extend(new_label[label].map(|label| (row, label, of(found)))),
        }
    }
    let mut kept = Vec::with_capacity(left.len());
    for (split, count) in [Split::Train, Split::Test, Split::Unlabelled].into_iter().zip(choice.counts) {
        let rows: Vec<_> = left.iter().copied().filter(|&(_, _, found)| found == split).collect();
        let there = rows.len();
        match count {
            Some(count) if count > there => {
                let of = format!("{split:?}").to_lowercase();
                let found = format!("{name} has {there} {of} images, {count} are asked for");
                return Err(StageError::Failed(found));
            }
            Some(count) => kept.extend(first(rows, count, choice.choose, chosen.classes.len())),
            None => kept.extend(rows),
        }
    }
    kept.sort_unstable_by_key(|&(row, _, _)| row);
    for (row, label, split) in kept {
        chosen.rows.push(row);
        chosen.labels.push(label);
        chosen.split.push(split);
    }
    match chosen.rows.is_empty() {
        true => Err(StageError::Failed(format!("{name} has no image of those asked for"))),
        false => Ok(chosen),
    }
}

/// By label: the new one, or `None` where its class is not kept.
fn new_labels(
    name: &str,
    classes: &[String],
    kept: Option<&[String]>,
) -> Result<Vec<Option<i64>>, StageError> {
    let Some(kept) = kept else {
        return Ok((0..classes.len() as i64).map(Some).collect());
    };
    let mut new = vec![None; classes.len()];
    for (label, class) in (0..).zip(kept) {
        let Some(old) = classes.iter().position(|known| known == class) else {
            let known = if classes.is_empty() { "none".to_owned() } else { classes.join(", ") };
            let found = format!("{name} has no class `{class}`; its classes are {known}");
            return Err(StageError::Failed(found));
        };
        if new[old].replace(label).is_some() {
            return Err(StageError::Failed(format!("the class `{class}` is named twice in `classes`")));
        }
    }
    Ok(new)
}

/// The first `count` images, in some order. By class: the classes take turns in order of label, each taking its next image,
/// until `count` are taken.
fn first(
    rows: Vec<(u32, i64, Split)>,
    count: usize,
    choose: Choose,
    classes: usize,
) -> impl Iterator<Item = (u32, i64, Split)> {
    // An image's turn is how many of its class come before it; those with the first turns are taken, ties by label.
    let mut seen = vec![0_usize; classes + 1];
    let mut turns: Vec<_> = rows
        .into_iter()
        .map(|image| {
            let turn = match choose {
                Choose::First => 0,
                Choose::EachClass => {
                    let seen = &mut seen[(image.1 + 1) as usize];
                    *seen += 1;
                    *seen
                }
            };
            let label = if choose == Choose::First { 0 } else { image.1 };
            (turn, label, image)
        })
        .collect();
    turns.sort_by_key(|&(turn, label, (row, _, _))| (turn, label, row));
    turns.into_iter().take(count).map(|(_, _, image)| image)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [&str; 3] = ["ant", "bee", "cat"];
    const LABELS: [i64; 8] = [0, 0, 0, 1, 2, 1, 2, -1];

    /// Five train images, two test images, one without a label.
    fn split() -> Vec<Split> {
        [vec![Split::Train; 5], vec![Split::Test; 2], vec![Split::Unlabelled]].concat()
    }

    const ALL: Choice<'static> =
        Choice { merge: false, classes: None, counts: [None; 3], choose: Choose::EachClass };

    fn chosen(choice: &Choice<'_>) -> Result<(Vec<u32>, Vec<i64>), String> {
        let classes = CLASSES.map(str::to_owned);
        let chosen =
            choose("insects", &classes, &LABELS, &split(), choice).map_err(|error| error.to_string())?;
        Ok((chosen.rows, chosen.labels))
    }

    #[test]
    fn everything_is_kept_where_nothing_is_asked() {
        assert_eq!(chosen(&ALL).unwrap(), ((0..8).collect(), LABELS.to_vec()));
    }

    #[test]
    fn classes_take_turns_or_the_first_images_are_kept() {
        let counts = [Some(3), Some(1), Some(0)];
        assert_eq!(chosen(&Choice { counts, ..ALL }).unwrap(), (vec![0, 3, 4, 5], vec![0, 1, 2, 1]));
        let first = Choice { counts, choose: Choose::First, ..ALL };
        assert_eq!(chosen(&first).unwrap(), (vec![0, 1, 2, 5], vec![0, 0, 0, 1]));
    }

    #[test]
    fn merged_test_images_are_for_training() {
        let classes = CLASSES.map(str::to_owned);
        let merge = Choice { merge: true, ..ALL };
        let found = choose("insects", &classes, &LABELS, &split(), &merge).unwrap();
        assert_eq!(found.split, [vec![Split::Train; 7], vec![Split::Unlabelled]].concat());
        let counts = [Some(7), None, None];
        assert_eq!(chosen(&Choice { counts, ..merge }).unwrap().0.len(), 8);
    }

    #[test]
    fn kept_classes_are_numbered_as_they_are_named() {
        let names = ["cat", "ant"].map(str::to_owned);
        let found = chosen(&Choice { classes: Some(&names), ..ALL }).unwrap();
        assert_eq!(found, (vec![0, 1, 2, 4, 6, 7], vec![1, 1, 1, 0, 0, -1]));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let error = |choice: Choice<'_>| chosen(&choice).unwrap_err();
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            error(Choice { classes: Some(&names(&["cow"])), ..ALL }),
            "insects has no class `cow`; its classes are ant, bee, cat"
        );
        assert_eq!(
            error(Choice { classes: Some(&names(&["ant", "ant"])), ..ALL }),
            "the class `ant` is named twice in `classes`"
        );
        assert_eq!(
            error(Choice { counts: [None, Some(3), None], ..ALL }),
            "insects has 2 test images, 3 are asked for"
        );
        let none = Choice { classes: Some(&names(&["cat"])), counts: [Some(0), Some(0), Some(0)], ..ALL };
        assert_eq!(error(none), "insects has no image of those asked for");
    }
}
