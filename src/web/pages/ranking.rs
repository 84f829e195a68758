//! The part of a sorted list that a page shows.

use std::ops::Range;

/// The rows at `range` of the sorted list, in order. Only these are sorted; rows behind the end are left out.
pub(super) fn sorted_part<T: Ord>(rows: &mut [T], range: Range<usize>) -> &[T] {
    let range = range.start.min(rows.len())..range.end.min(rows.len());
    if range.is_empty() {
        return &[];
    }
    if range.start > 0 {
        rows.select_nth_unstable(range.start);
    }
    let from_start = &mut rows[range.start..];
    if range.len() < from_start.len() {
        from_start.select_nth_unstable(range.len());
    }
    let part = &mut from_start[..range.len()];
    part.sort_unstable();
    part
}
