//! The encoder against edits of plain trees, on random input.

use super::*;

/// An edit in plain terms.
#[derive(Clone, Debug)]
enum Plain {
    /// Path, and per row: `None` passes over, `Some(None)` removes.
    Set(&'static str, Vec<Option<Option<Tree>>>),
    Rename(&'static str, &'static str),
    Keep(Vec<&'static str>),
}

fn plain_edit(top: bool) -> impl Strategy<Value = Plain> {
    let fields = if top { vec!["a", "b", "s"] } else { vec!["a", "b", "s", "s.f", "s.g.h", ""] };
    let tree = prop_oneof![
        Just(Tree::Null),
        any::<i32>().prop_map(Tree::from),
        any::<String>().prop_map(Tree::from),
        Just(serde_json::json!({"f": 1, "g": {"h": [1.5, "x\""]}})),
    ];
    let cell = prop_oneof![1 => Just(None), 1 => Just(Some(None)), 3 => tree.prop_map(|t| Some(Some(t)))];
    let kept = if top { vec!["a", "b", "s"] } else { vec!["a", "s.f", "s.g.h", "b"] };
    prop_oneof![
        5 => (prop::sample::select(fields), prop::collection::vec(cell, 8)).prop_map(|(f, c)| Plain::Set(f, c)),
        1 => (prop::sample::select(vec!["a", "b", "s"]), prop::sample::select(vec!["a", "b", "s"]))
            .prop_map(|(a, b)| Plain::Rename(a, b)),
        1 => prop::sample::subsequence(kept, 0..=2).prop_map(Plain::Keep),
    ]
}

fn set_tree(tree: &mut Tree, path: &[&str], value: &Tree) {
    let Some((name, rest)) = path.split_first() else {
        *tree = value.clone();
        return;
    };
    if !tree.is_object() {
        *tree = serde_json::json!({});
    }
    let map = tree.as_object_mut().unwrap();
    set_tree(map.entry(*name).or_insert(serde_json::json!({})), rest, value);
}

fn remove_tree(tree: &mut Tree, path: &[&str]) {
    let (Some((name, rest)), Some(map)) = (path.split_first(), tree.as_object_mut()) else { return };
    if rest.is_empty() {
        map.shift_remove(*name);
    } else if let Some(inner) = map.get_mut(*name) {
        remove_tree(inner, rest);
    }
}

fn keep_tree(tree: &mut Tree, paths: &[Vec<&str>]) -> bool {
    if paths.iter().any(Vec::is_empty) {
        return true;
    }
    let Some(map) = tree.as_object_mut() else {
        *tree = serde_json::json!({});
        return false;
    };
    map.retain(|name, inner| {
        let inside: Vec<Vec<&str>> = paths.iter().filter(|p| p[0] == name).map(|p| p[1..].to_vec()).collect();
        !inside.is_empty() && keep_tree(inner, &inside)
    });
    !map.is_empty()
}

fn names(path: &'static str) -> Vec<&'static str> {
    if path.is_empty() { Vec::new() } else { path.split('.').collect() }
}

fn apply_plain(tree: &mut Tree, edit: &Plain, row: usize) {
    match edit {
        Plain::Set(path, cells) => match &cells[row % cells.len()] {
            None => {}
            Some(None) => remove_tree(tree, &names(path)),
            Some(Some(value)) => set_tree(tree, &names(path), value),
        },
        Plain::Rename(from, to) => {
            let Some(map) = tree.as_object_mut().filter(|m| from != to && m.contains_key(*from)) else { return };
            let renamed = std::mem::take(map)
                .into_iter()
                .filter(|(n, _)| n != to)
                .map(|(n, v)| (if n == *from { (*to).to_owned() } else { n }, v));
            *map = renamed.collect();
        }
        Plain::Keep(paths) => {
            keep_tree(tree, &paths.iter().map(|p| names(p)).collect::<Vec<_>>());
        }
    }
}

/// The edit as steps record it.
fn apply(batch: &mut Batch, layout: &Layout, edit: &Plain) {
    use crate::data::batch::Edit;
    let id = |path: &str| {
        layout.iter().find(|(_, p)| if path.is_empty() { p.names.is_empty() } else { p.to_string() == path }).unwrap().0
    };
    match edit {
        Plain::Set(path, cells) => {
            let mut builder = ColumnBuilder::default();
            let mut touched = Vec::new();
            for row in 0..batch.rows {
                let cell = &cells[row % cells.len()];
                touched.push(cell.is_some());
                match cell {
                    Some(Some(tree)) => builder.push(parse_value(&tree.to_string()).unwrap().as_val()),
                    _ => builder.push_cell(Cell::Missing),
                }
            }
            let all = touched.iter().all(|t| *t);
            batch.set(id(path), Arc::new(builder.finish()), (!all).then(|| Arc::new(touched)));
        }
        Plain::Rename(from, to) => batch.edits.push(Edit::Rename { from: id(from), to: id(to) }),
        Plain::Keep(paths) => {
            batch.edits.push(Edit::Keep { fields: paths.iter().map(|p| id(p)).collect::<Vec<_>>().into() });
        }
    }
}

fn encoded(encoder: &mut Encoder, batch: &Batch) -> Vec<String> {
    let (mut text, mut ends) = (b"before".to_vec(), Vec::new());
    encoder.encode(batch, &mut text, &mut ends);
    let mut at = 6;
    ends.iter()
        .map(|end| {
            let row = std::str::from_utf8(&text[at..*end as usize]).unwrap();
            at = *end as usize;
            row.strip_suffix('\n').unwrap().to_owned()
        })
        .collect()
}

fn rows() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        json().prop_filter("numbers beyond doubles", |t| serde_json::from_str::<Tree>(t).is_ok()),
        1..8,
    )
}

fn check_edits(rows: &[String], edits: &[Plain], made: bool) {
    let layout = layout_of(&PATHS);
    let demand = demand_of(&layout, &[], &["a", "b", "s"]);
    let mut batch = Decoder::new(&layout, &demand).decode(lines(&rows.join("\n"))).batch;
    let mut trees: Vec<Tree> = rows.iter().map(|r| serde_json::from_str(r).unwrap()).collect();
    if made {
        batch.raw = None;
        batch.columns.clear();
        trees.fill(serde_json::json!({}));
    }
    for edit in edits {
        apply(&mut batch, &layout, edit);
        trees.iter_mut().enumerate().for_each(|(row, tree)| apply_plain(tree, edit, row));
    }
    for (row, text) in encoded(&mut Encoder::new(&layout), &batch).iter().enumerate() {
        let ours: Tree = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let in_order = |t: &Tree| t.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>());
        assert_eq!(ours, trees[row], "{text}");
        assert_eq!(in_order(&ours), in_order(&trees[row]), "{text}");
        let event = event_of(&layout, &batch, row);
        assert!(same(&event, &trees[row]), "{event:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn edits_of_members_give_what_trees_give(rows in rows(), edits in prop::collection::vec(plain_edit(true), 0..5)) {
        check_edits(&rows, &edits, false);
    }

    #[test]
    fn edits_at_any_depth_give_what_trees_give(rows in rows(), edits in prop::collection::vec(plain_edit(false), 0..5)) {
        check_edits(&rows, &edits, false);
    }

    #[test]
    fn made_rows_give_what_trees_give(rows in rows(), edits in prop::collection::vec(plain_edit(false), 0..5)) {
        check_edits(&rows, &edits, true);
    }
}

/// Rows and their edits, ready to be joined.
fn edited(layout: &Layout, demand: &Demand, rows: &[String], edits: &[Plain]) -> Batch {
    let mut batch = Decoder::new(layout, demand).decode(lines(&rows.join("\n"))).batch;
    batch.times = (0..batch.rows as i64).map(crate::base::time::Timestamp).collect();
    edits.iter().for_each(|edit| apply(&mut batch, layout, edit));
    batch
}

proptest! {
    #[test]
    fn woven_batches_say_what_their_parts_say(
        first in rows(),
        second in rows(),
        edits in prop::collection::vec(plain_edit(false), 0..3),
        others in prop::option::of(prop::collection::vec(plain_edit(true), 0..3)),
        cuts in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..12),
        order in any::<bool>(),
    ) {
        let layout = layout_of(&PATHS);
        let demand = demand_of(&layout, &["a", "s", "s.f"], &["a", "b", "s"]);
        let mut batches = [
            edited(&layout, &demand, &first, &edits),
            edited(&layout, &demand, &second, others.as_deref().unwrap_or(&edits)),
        ];
        if order {
            // Rows out of order and with gaps.
            for batch in &mut batches {
                let rows: Vec<u32> = (0..batch.rows as u32).rev().filter(|r| r % 3 != 1).collect();
                *batch = batch.select(&rows);
            }
        }
        let mut encoder = Encoder::new(&layout);
        let mut decoder = Decoder::new(&layout, &demand);
        let was_alike = alike(&batches);
        if !was_alike {
            batches = batches.map(|batch| materialise(&mut encoder, &mut decoder, &batch).0);
        }
        let picks = cuts.iter().filter_map(|(part, row)| {
            let rows = batches[usize::from(*part)].rows;
            (rows > 0).then(|| Pick { part: u32::from(*part), row: row.index(rows) as u32 })
        });
        let order: Vec<Pick> = picks.collect();
        let joined = weave(&batches, &order);
        let texts = encoded(&mut encoder, &joined);
        prop_assert_eq!(joined.rows, order.len());
        for (row, pick) in order.iter().enumerate() {
            let (batch, old_row) = (&batches[pick.part as usize], pick.row as usize);
            let event = event_of(&layout, batch, old_row);
            prop_assert_eq!(&event_of(&layout, &joined, row), &event);
            prop_assert_eq!(&parse_value(&texts[row]).unwrap(), &event);
            prop_assert_eq!(joined.times[row], batch.times[old_row]);
            for field in demand.values.iter().filter(|_| was_alike) {
                prop_assert_eq!(cell_value(joined.column(*field).unwrap(), row), cell_value(batch.column(*field).unwrap(), old_row));
            }
        }
        // Materialised, columns say what the event says.
        let (fresh, _) = materialise(&mut encoder, &mut decoder, &joined);
        for row in 0..fresh.rows {
            let event = event_of(&layout, &joined, row);
            for field in &demand.values {
                let names = &layout.path(*field).unwrap().names;
                prop_assert_eq!(cell_value(fresh.column(*field).unwrap(), row), event.at(names).cloned());
            }
        }
        prop_assert_eq!(fresh.times, joined.times);
    }
}

#[test]
fn untouched_rows_leave_as_they_came() {
    let layout = layout_of(&["a"]);
    let mut encoder = Encoder::new(&layout);
    let mut decoder = Decoder::new(&layout, &Demand::default());
    let text = "{\"a\" : 1.50}\n{\"b\":[ ]}\n\n 7 \n";
    let batch = decoder.decode(lines(text)).batch;
    assert_eq!(encoded(&mut encoder, &batch), ["{\"a\" : 1.50}", "{\"b\":[ ]}", "7"]);
    assert_eq!(encoder.untouched(&batch), None);
    let front = batch.select(&[0, 1]);
    assert_eq!(encoder.untouched(&front), Some(Untouched { text: &text[..23], start: 0 }));
    assert_eq!(encoded(&mut encoder, &batch.select(&[1, 0])), ["{\"b\":[ ]}", "{\"a\" : 1.50}"]);
}
