//! The exposition: golden text, formats, policies and the series limit.

mod exceptions;
mod facts;
mod formats;
mod golden;
mod long_labels;
mod own_labels;
mod parser;
mod policies;
mod series_limit;
