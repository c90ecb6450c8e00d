//! What a new process of a vassal is for.

/// What the emperor wants from a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// It becomes the program.
    #[default]
    Start,
    /// A stage reads the file, tries all that a start does, leaves nothing behind, gives its verdict and ends.
    Check,
}
