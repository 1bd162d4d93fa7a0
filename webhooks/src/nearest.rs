//! The known name that a mistyped one was meant to be.

/// The known name nearest to what was written, when it is near enough to be meant.
pub fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text = text.to_lowercase();
    let limit = (text.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::osa_distance(&text, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
