//! The order of a merged list: the elements of the patch are in the patch's order, the others in the order that they had,
//! and one of the others stands before an element of the patch where it stood before it already.

use serde_json::Value;

/// The elements of `merged`, each of which comes from the patch or from the list as it was, in order. `key` is what an
/// element is known by.
pub(super) fn merged<'k>(
    merged: Vec<Value>,
    patch: &'k [Value],
    before: &'k [Value],
    key: impl for<'v> Fn(&'v Value) -> Option<&'v Value>,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| {
        let wanted = key(item)?;
        list.iter().position(|other| key(other) == Some(wanted))
    };
    let (mut changed, mut kept): (Vec<_>, Vec<_>) = merged.into_iter().partition(|item| place(patch, item).is_some());
    changed.sort_by_key(|item| place(patch, item));
    kept.sort_by_key(|item| place(before, item));
    let (mut changed, mut kept) = (changed.into_iter().peekable(), kept.into_iter().peekable());
    let mut ordered = Vec::new();
    loop {
        let next = match (kept.peek(), changed.peek()) {
            (None, None) => return ordered,
            (Some(_), None) => kept.next(),
            (None, Some(_)) => changed.next(),
            (Some(old), Some(new)) => match (place(before, old), place(before, new)) {
                (Some(old), Some(new)) if old < new => kept.next(),
                _ => changed.next(),
            },
        };
        ordered.extend(next);
    }
}
