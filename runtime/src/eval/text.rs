//! Text rules of the metrics, over fixed tables: a newer Unicode in a newer compiler must not move a score.
//!
//! Nothing here asks the standard library about Unicode; the tables below are the whole definition (SPEC, "Metrics").

/// Tells whether a character is white space: the 25 characters of Unicode's `White_Space`, which is closed.
pub(super) fn is_space(character: char) -> bool {
    matches!(character,
        '\u{9}'..='\u{d}' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'
        | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// Cuts white space off both ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Cuts white space off both ends, makes every run of it one space, and lower-cases.
pub(super) fn collapse(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.extend(word.chars().map(lower));
    }
    collapsed
}

/// Splits text into lower-cased words; an ideograph or kana is a word of its own, punctuation and symbols are none.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for character in text.chars().map(lower) {
        let alone = stands_alone(character);
        if (alone || !is_word(character)) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if alone {
            words.push(character.to_string());
        } else if is_word(character) {
            word.push(character);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Lower-cases Latin, Greek and Cyrillic letters one to one; every other character stays.
fn lower(character: char) -> char {
    let code = u32::from(character);
    let lowered = match code {
        0x41..=0x5a | 0xc0..=0xd6 | 0xd8..=0xde | 0x391..=0x3a1 | 0x3a3..=0x3ab | 0x410..=0x42f => code + 32,
        0x100..=0x12f | 0x132..=0x137 | 0x14a..=0x177 | 0x460..=0x481 | 0x48a..=0x4bf if code % 2 == 0 => code + 1,
        0x139..=0x148 | 0x179..=0x17e if code % 2 == 1 => code + 1,
        0x178 => 0xff,
        0x386 => 0x3ac,
        0x388..=0x38a => code + 37,
        0x38c => 0x3cc,
        0x38e | 0x38f => code + 63,
        0x400..=0x40f => code + 80,
        0xff21..=0xff3a => code + 32,
        _ => code,
    };
    char::from_u32(lowered).unwrap_or(character)
}

fn is_word(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    !is_space(character)
        && !matches!(character,
        '\u{80}'..='\u{a9}' | '\u{ab}'..='\u{b4}' | '\u{b6}'..='\u{b9}' | '\u{bb}'..='\u{bf}' | '×' | '÷'
        | '\u{2000}'..='\u{206f}' | '\u{20a0}'..='\u{20cf}' | '\u{2190}'..='\u{2bff}' | '\u{2e00}'..='\u{2e7f}'
        | '\u{3000}'..='\u{303f}' | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe6f}' | '\u{feff}'
        | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}'
        | '\u{fff0}'..='\u{ffff}' | '\u{1f000}'..='\u{1faff}')
}

fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_scripts() {
        let check = |text: &str, expected: &[&str]| assert_eq!(words(text), expected, "{text}");
        check("The cat's  mat.", &["the", "cat", "s", "mat"]);
        check("ÄRGER über Żółć", &["ärger", "über", "żółć"]);
        check("Ελλάδα, ΜΌΣΧΑ Москва ЁЖ", &["ελλάδα", "μόσχα", "москва", "ёж"]);
        check("東京 tower。", &["東", "京", "tower"]);
        check("x=3.14 – €5", &["x", "3", "14", "5"]);
        check(" \u{3000}—!", &[]);
    }

    #[test]
    fn lower_case_agrees_with_unicode_where_it_acts() {
        for character in (0..=0x10_ffff_u32).filter_map(char::from_u32) {
            let lowered = lower(character);
            assert!(lowered == character || character.to_lowercase().eq([lowered]), "{character:?}");
        }
    }

    #[test]
    fn white_space_is_unicode_white_space() {
        for character in (0..=0x10_ffff_u32).filter_map(char::from_u32) {
            assert_eq!(is_space(character), character.is_whitespace(), "{character:?}");
        }
        assert_eq!(collapse("\u{a0} One\t\nTWO  "), "one two");
        assert_eq!(trim("\u{3000}a b\n"), "a b");
    }
}
