//! Settings that are one of a few words.

/// A setting that is one of a few words.
pub trait Choice: Copy + PartialEq + Sized + 'static {
    /// All values, in the order of the numbers by which packets name them.
    const ALL: &'static [Self];

    /// The words of a configuration for them; the values that no word stands for come last.
    const WORDS: &'static [&'static str];

    /// The value of a word.
    fn from_word(word: &str) -> Option<Self> {
        let index = Self::WORDS.iter().position(|known| *known == word)?;
        Self::ALL.get(index).copied()
    }
}
