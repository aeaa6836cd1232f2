//! The patterns: one row of [`RULES`] each, tried in order; the first to claim a stretch of text keeps it.
//!
//! A rule is a regular expression whose group `v` (else the whole match) is the identifier, and a check that a regular expression cannot
//! make. Cue words stand in the expression, so a bare number is an identifier only where its shape or a checksum says so.

use std::sync::LazyLock;

use regex::Regex;

use super::checksum;
use super::kind::Kind;

/// What a regular expression cannot see: checksums, ranges, neighbours.
type Check = fn(Match<'_>) -> bool;

/// A pattern ready to run.
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) pattern: Regex,
    pub(super) check: Check,
}

/// What a check sees.
#[derive(Clone, Copy)]
pub(super) struct Match<'a> {
    /// The text before the identifier.
    pub(super) before: &'a str,
    /// The identifier.
    pub(super) value: &'a str,
    /// The text after it.
    pub(super) after: &'a str,
}

impl Match<'_> {
    fn digit_count(&self) -> usize {
        self.value.bytes().filter(u8::is_ascii_digit).count()
    }

    /// The last `len` bytes before the identifier (or a few less), in lower case.
    fn lead(&self, len: usize) -> String {
        let mut start = self.before.len().saturating_sub(len);
        while !self.before.is_char_boundary(start) {
            start += 1;
        }
        self.before[start..].to_lowercase()
    }
}

/// Every rule, compiled once.
pub(super) static COMPILED: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let compile = |&(kind, pattern, check): &(Kind, &str, Check)| Rule {
        kind,
        pattern: Regex::new(pattern).expect("the rules' expressions are fixed and tested"),
        check,
    };
    RULES.iter().map(compile).collect()
});

fn always(_: Match<'_>) -> bool {
    true
}

/// The neighbours are no letters, digits or signs that would make the value part of something longer.
fn stands_alone(found: Match<'_>) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let before = found.before.chars().next_back();
    let mut after = found.after.chars();
    let (next, second) = (after.next(), after.next());
    let decimal = matches!(next, Some('.' | ',' | '-' | '/')) && second.is_some_and(|letter| letter.is_ascii_digit());
    let money = before.is_some_and(|letter| "$£€#".contains(letter));
    !before.is_some_and(part)
        && !next.is_some_and(part)
        && !decimal
        && !money
        && !before.is_some_and(|letter| ".-/".contains(letter))
}

fn card(found: Match<'_>) -> bool {
    let cue = ["card", "credit", "debit", "visa", "master", "amex", " cc ", "maestro"];
    let lead = found.lead(40);
    let told = cue.iter().any(|word| lead.contains(word));
    let network = found.value.starts_with(['2', '3', '4', '5', '6']);
    let grouped = found.digit_count() >= 13 && network && checksum::luhn(found.value);
    stands_alone(found) && (grouped || (told && (12..=19).contains(&found.digit_count())))
}

fn iban(found: Match<'_>) -> bool {
    checksum::iban(found.value) || (found.lead(20).contains("iban") && found.digit_count() >= 10)
}

fn social_security(found: Match<'_>) -> bool {
    let digits: String = found.value.chars().filter(char::is_ascii_digit).collect();
    stands_alone(found)
        && digits.len() == 9
        && &digits[..3] != "000"
        && &digits[..3] != "666"
        && &digits[3..5] != "00"
        && &digits[5..] != "0000"
}

fn ip_version_4(found: Match<'_>) -> bool {
    let lead = found.lead(10);
    let versioned =
        ["version ", " v", "ver. ", "release ", "section ", "firmware "].iter().any(|word| lead.ends_with(word));
    stands_alone(found) && !versioned && found.value.parse::<std::net::Ipv4Addr>().is_ok()
}

fn ip_version_6(found: Match<'_>) -> bool {
    let groups = found.value.split(':').filter(|group| !group.is_empty()).count();
    groups >= 3 && found.digit_count() >= 1 && stands_alone(found) && found.value.parse::<std::net::Ipv6Addr>().is_ok()
}

fn vehicle(found: Match<'_>) -> bool {
    let letters = found.value.bytes().any(|byte| byte.is_ascii_alphabetic());
    letters && found.digit_count() >= 4 && checksum::vin(found.value)
}

/// Day, month and year in an order that some calendar writes.
fn numeric_date(found: Match<'_>) -> bool {
    let date = found.value.split(['T', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split(['-', '/', '.']).collect();
    let numbers: Vec<u32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let [first, second, third] = numbers[..] else { return false };
    let year = |number: u32, len: usize| (len == 4 && (1800..=2100).contains(&number)) || len == 2;
    let month_and_day =
        |left: u32, right: u32| (1..=31).contains(&left) && (1..=31).contains(&right) && (left <= 12 || right <= 12);
    let dotted = date.contains('.');
    let same = [' ', '-', '/', '.'].iter().any(|sign| date.matches(*sign).count() == 2);
    let year_last =
        parts[0].len() <= 2 && parts[1].len() <= 2 && year(third, parts[2].len()) && month_and_day(first, second);
    let year_first = parts[0].len() == 4 && year(first, 4) && month_and_day(second, third) && second <= 12;
    stands_alone(found) && same && (year_first || (year_last && (parts[2].len() == 4 || !dotted)))
}

fn month_and_year(found: Match<'_>) -> bool {
    stands_alone(found)
}

/// "may" and "march" are dates only where they are written like months.
fn written_date(found: Match<'_>) -> bool {
    let verb = |word: &str| found.value.contains(word);
    let ordinal = ["st", "nd", "rd", "th"].iter().any(|ending| found.value.to_lowercase().contains(ending));
    let year = found.digit_count() >= 5;
    !(verb("may ") || verb("march ")) || ordinal || year
}

/// The value's number is at least 90.
fn over_89(found: Match<'_>) -> bool {
    let digits: String = found.value.chars().filter(char::is_ascii_digit).collect();
    let spoken = digits.is_empty();
    spoken || digits.parse::<u32>().is_ok_and(|age| (90..=125).contains(&age))
}

fn phone(found: Match<'_>) -> bool {
    stands_alone(found) && (7..=18).contains(&found.digit_count())
}

fn national_phone(found: Match<'_>) -> bool {
    stands_alone(found) && (9..=11).contains(&found.digit_count())
}

fn told_phone(found: Match<'_>) -> bool {
    (6..=15).contains(&found.digit_count()) && stands_alone(found)
}

/// A number of at least four digits that is no year.
fn long_number(found: Match<'_>) -> bool {
    let digits = found.digit_count();
    let bare_year = found.value.len() == 4 && (found.value.starts_with("19") || found.value.starts_with("20"));
    digits >= 4 && !bare_year && is_whole(found)
}

/// At least three digits, or a mark before them that says "number".
fn short_number(found: Match<'_>) -> bool {
    found.digit_count() >= 3 && is_whole(found)
}

/// A bare reference is long; one that is called a number may be short.
fn reference(found: Match<'_>) -> bool {
    let lead = found.lead(12);
    let called = lead.trim_end().ends_with(['#', ':', '='])
        || ["number", "no.", "no", "id", "code", "nr"].iter().any(|word| lead.trim_end().ends_with(word));
    found.digit_count() >= if called { 3 } else { 5 } && is_whole(found)
}

/// The value ends where the word ends and is no sum of money.
fn is_whole(found: Match<'_>) -> bool {
    let next = found.after.chars().next();
    let unit = found.after.trim_start().to_lowercase();
    let counted = [
        "dollar", "euro", "pound", "usd", "eur", "%", "percent", "kg", "mg", "ml", "people", "unit", "year", "hour",
        "day",
    ];
    !next.is_some_and(|letter| letter.is_alphanumeric()) && !counted.iter().any(|word| unit.starts_with(word))
}

fn plate(found: Match<'_>) -> bool {
    let letters = found.value.bytes().filter(u8::is_ascii_alphabetic).count();
    letters >= 1 && found.digit_count() >= 1 && (4..=9).contains(&(letters + found.digit_count()))
}

fn name(found: Match<'_>) -> bool {
    !NO_NAMES.contains(&found.value.split([' ', '\n']).next().unwrap_or_default().to_lowercase().as_str())
}

/// Kind, expression, check. Order decides who claims a stretch first.
const RULES: &[(Kind, &str, Check)] = &[
    (Kind::Url, r#"(?i)\b(?:https?|ftps?)://[^\s<>"'\]\[]+[^\s<>"'\]\[.,;:!?)]/?"#, always),
    (Kind::Email, r"[\p{L}\p{N}][\p{L}\p{N}._%+'-]*@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)*\.\p{L}{2,}", always),
    (Kind::Url, r"(?i)\bwww\.?[\p{L}\p{N}][\p{L}\p{N}-]*(?:\.[\p{L}\p{N}-]+)+(?:/[^\s<>]*[^\s<>.,;:!?)])?", always),
    (
        Kind::Url,
        r"(?i)\b[\p{L}\p{N}][\p{L}\p{N}-]*(?:\.[\p{L}\p{N}-]+)*\.(?:com|org|net|edu|gov|info|biz|mobi|tv|co\.uk|ac\.uk|org\.uk|co\.nz|com\.au)\b(?:/[^\s<>]*[^\s<>.,;:!?)])?",
        always,
    ),
    (Kind::Iban, r"(?i)\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", iban),
    (Kind::Device, r"(?i)\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b", stands_alone),
    (
        Kind::Device,
        r"(?i)\b(?:serial(?: (?:number|no\.?|#))?|s/n|sn|imei|imsi|iccid|device (?:id|number|no\.?|identifier)|udi|lot (?:number|no\.?|#))(?: is| was|:|=|#|\s)*(?P<v>[A-Z]{0,5}[- ]?\d[\dA-Z-]{3,24})",
        short_number,
    ),
    (
        Kind::Certificate,
        r"(?i)\b(?:driv(?:er'?s?|ing) licen[sc]e|licen[sc]e|certificate|passport|permit|(?-i:DEA|NPI))(?: (?:number|no\.?|num|nr|id|#))?(?: is| was|:|=|#|\s)*(?P<v>[A-Z]{0,3}[- ]?\d[\dA-Z-]{4,24})",
        short_number,
    ),
    (
        Kind::MedicalRecord,
        r"(?i)\b(?:mrn|medical record|med rec|patient (?:id|number|no\.?|#)|hospital (?:id|number|no\.?)|chart (?:number|no\.?|#)|record (?:number|no\.?|#)|nhs (?:number|no\.?))(?: number| no\.?)?(?: is| was|:|=|#|\s)*(?P<v>[A-Z]{0,4}[- ]?\d[\dA-Z -]{2,16}\d|[A-Z]{0,4}-?\d{4,})",
        short_number,
    ),
    (
        Kind::HealthPlan,
        r"(?i)\b(?:health plan|medicare|medicaid|beneficiary|(?:member(?:ship)?|policy|subscriber|insurance|group|plan)(?: (?:id|number|no\.?|#))+)(?: (?:id|number|no\.?|#))*(?: is| was|:|=|#|\s)*(?P<v>[A-Z]{0,4}[- ]?\d[\dA-Z-]{3,20})",
        short_number,
    ),
    (Kind::Vin, r"(?i)\bvin(?: (?:number|no\.?|#))?(?: is|:|=|#|\s)*(?P<v>[A-HJ-NPR-Z0-9]{17})\b", always),
    (Kind::Vin, r"(?i)\b[A-HJ-NPR-Z0-9]{17}\b", vehicle),
    (
        Kind::Plate,
        r"(?i:\b(?:licen[sc]e plate|number plate|plates?|registration(?: (?:number|no\.?|mark))?|reg(?:\.|istration)? (?:number|no\.?))(?: (?:number|no\.?|#))?(?: is| was|:|=|#|\s)*)(?P<v>[A-Z0-9]{1,4}[- ]?[A-Z0-9]{1,4}(?:[- ][A-Z0-9]{1,4})?)\b",
        plate,
    ),
    (
        Kind::Reference,
        r"(?i)\b(?:order|purchase|invoice|bill|receipt|ticket|case|reference|ref|booking|tracking|transaction|confirmation|shipment|parcel|claim)(?:[ -]?(?:number|no\.?|num|nr|id|code|ref|#))*(?: is|:|=|#|\.|\s)*(?P<v>[A-Z]{0,4}-?\d[\dA-Z-]{2,30})",
        reference,
    ),
    (
        Kind::Reference,
        r"(?i)\bclaim ?(?:code|number|no\.?)(?: is|:|=|\s)*(?P<v>[A-Z]{0,4}\d[\dA-Z]{2,12})",
        short_number,
    ),
    (
        Kind::Account,
        r"(?i)\b(?:account|acct|a/c|customer|client|routing|sort code|bsb)(?: (?:number|no\.?|num|nr|id|code|#))*(?: is| was| ending in|:|=|#|\s)*(?P<v>[A-Z]{0,4}-?\d[\d -]{2,24}\d)",
        long_number,
    ),
    (Kind::Card, r"\b\d(?:[ -]?\d){11,18}\b", card),
    (Kind::Ssn, r"\b\d{3}[- ]\d{2}[- ]\d{4}\b", social_security),
    (Kind::Ssn, r"(?i)\b(?:ssn|social security(?: (?:number|no\.?))?)(?: is|:|=|#|\s)*(?P<v>\d{9})\b", social_security),
    (Kind::Ip, r"\b\d{1,3}(?:\.\d{1,3}){3}\b", ip_version_4),
    (Kind::Ip, r"(?i)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}", ip_version_6),
    (Kind::Date, r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ]\d{1,2}:\d{2}(?::\d{2})?)?\b", numeric_date),
    (Kind::Date, r"\b(?:0?[1-9]|1[0-2])/(?:19|20)\d\d\b", month_and_year),
    (
        Kind::Date,
        r"(?i)\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?,? (?:the )?(?:(?:[12]?\d|3[01])(?:st|nd|rd|th)?\b(?:,? (?:of )?(?:19|20)\d\d\b)?|(?:19|20)\d\d\b)",
        written_date,
    ),
    (
        Kind::Date,
        r"(?i)\b(?:[12]?\d|3[01])(?:st|nd|rd|th)?[ -](?:of )?(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?(?:[ ,-]+(?:(?:19|20)\d\d|\d\d)\b)?",
        always,
    ),
    (
        Kind::Date,
        r"(?i)\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.? (?:the )?(?:(?:twenty|thirty)[ -])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth)\b(?:,? (?:19|20)\d\d\b)?",
        always,
    ),
    (
        Kind::Date,
        r"(?i)\b(?:(?:twenty|thirty)[ -])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth) of (?:january|february|march|april|may|june|july|august|september|october|november|december)\b(?:,? (?:19|20)\d\d\b)?",
        always,
    ),
    (Kind::Age, r"(?i)\b(?P<v>\d{2,3})[ -]?(?:years?|yrs?|y)[ -]?(?:/ ?|of )?(?:old|age|o)\b", over_89),
    (Kind::Age, r"(?i)\b(?:aged?|at the age of|turn(?:s|ed|ing)?|age:|age is) (?:of )?(?P<v>\d{2,3})\b", over_89),
    (
        Kind::Age,
        r"(?i)\b(?P<v>ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?)[ -]years?[ -]old\b",
        over_89,
    ),
    (
        Kind::Fax,
        r"(?i)\b(?:fax|facsimile|telefax)(?: (?:number|no\.?|#))?(?: is|:|=|\s|\.)*(?P<v>\+?\(?\d[\d ().-]{4,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?)",
        phone,
    ),
    (Kind::Fax, r"(?i)(?P<v>\+?\(?\d[\d ().-]{4,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?)[ -]{0,3}fax\b", phone),
    (
        Kind::Phone,
        r"(?:\+|\b00)[1-9]\d{0,2}[ .-]?(?:\(0?\d{0,4}\)[ .-]?)?\d(?:[ .-]?\d){5,13}(?: ?(?:x|ext\.?) ?\d{1,6})?",
        phone,
    ),
    (
        Kind::Phone,
        r"(?:\b(?:1|001)[ .-])?(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,6})?\b",
        phone,
    ),
    (Kind::Phone, r"\(\d{2,5}\)[ -]?\d{2,4}(?:[ .-]?\d{2,4}){1,2}\b", phone),
    (Kind::Phone, r"\b0\d{8,10}\b", national_phone),
    (Kind::Phone, r"\b0\d{1,4}(?:[ .-]\d{2,4}){2,4}\b", national_phone),
    (Kind::Phone, r"\b0\d{2,4} \d{6,7}\b", national_phone),
    (Kind::Phone, r"\b\d{2}(?:[.-]\d{2}){3,4}\b", phone),
    (
        Kind::Phone,
        r"(?i)\b(?:call|calling|phone|telephone|tel|mobile|mob|cell|desk|office|home|work|contact|ring|dial|reach|whatsapp|registered|number is|messages to|answering at|hotline|helpline)\b(?: (?:number|no\.?|me|us|him|her|them|on|at|now|is|this|free|back|my|your|the|landline|line|or|to|from))*[\s.:#*=]*(?P<v>\+?\(?\d[\d ().-]{4,18}\d)\b",
        told_phone,
    ),
    (Kind::Phone, r"(?i)(?P<v>\+?\(?\d[\d ().-]{5,18}\d)[ -]{1,3}(?:office|mobile|cell|home|desk)\b", told_phone),
    (Kind::Address, r"(?i)\bp\.? ?o\.? ?box[ :]?#?\d{1,6}\b", always),
    (Kind::Address, r"\b(?:PSC|Unit|UNIT|CMR) \d{1,5},? Box \d{1,5}\b(?:\s+(?:[AFD]PO)\s+[A-Z]{2} \d{5})?", always),
    (
        Kind::Address,
        r"\b\d{1,6}[A-Za-z]?,? (?:[NSEW]\.? )?(?:[\p{Lu}][\p{L}'.-]* ){1,4}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq|Terrace|Parkway|Pkwy|Highway|Hwy|Close|Crescent|Circle|Cir|Alley|Trail|Row|Gardens|Grove)\b\.?(?:,? (?:Apt|Suite|Unit|Flat|No)\.? ?\d+[A-Za-z]?)?",
        stands_alone,
    ),
    (
        Kind::Address,
        r"\b(?:\d{1,6} )?\p{Lu}[\p{L}-]*(?:straat|strasse|straße|gasse|gatan|vägen|vej|gade|veien|gata|laan|weg|platz|plein|katu|tie|utca|ulica|allee|braut)\s\d{1,5}[A-Za-z]?\b",
        always,
    ),
    (
        Kind::Address,
        r"\b(?:\d{1,6},? )?(?:Rue|Via|Calle|Rua|Avenida|Plaza|Avenue|Boulevard|ul\.|Ulica|Karl-|Place) (?:(?:de|da|do|del|di|la|le|du|des|von|van) )*\p{Lu}[\p{L}'-]*(?: \p{Lu}[\p{L}'-]*){0,3},? \d{1,5}\b",
        always,
    ),
    (Kind::Address, r"\b(?i:apt|apartment|suite|flat)\.? #?\d{1,5}[A-Za-z]?\b", always),
    (
        Kind::Address,
        r"(?i)\b(?:address(?:es)?(?: is| are)?:?|lives? at|living at|resid(?:es?|ing) at)\s+(?P<v>\d{1,6}[a-z]?,? [\p{L}][\p{L} .'-]{2,40}\p{L})",
        always,
    ),
    (
        Kind::Zip,
        r"\b(?:AL|AK|AZ|AR|CA|CO|CT|DE|DC|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|AA|AE|AP),?\s+(?P<v>\d{5}(?:-\d{4})?)\b",
        stands_alone,
    ),
    (
        Kind::Zip,
        r"(?i)\b(?:zip(?: ?code)?|postal code|post ?code)(?: is|:|=|\s)*(?P<v>[A-Z]{0,2}\d[A-Z0-9]{1,5}(?:[ -][A-Z0-9]{2,4})?)\b",
        short_zip,
    ),
    (Kind::Zip, r"\b[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}\b", always),
    (
        Kind::Name,
        r"\b(?:Mr|Mrs|Ms|Dr|Prof|mr|mrs|ms|dr|Herr|Frau|Mme|Señora?)\.?[ \t]+(?P<v>\p{Lu}[\p{Ll}'’-][\p{L}'’-]*(?:[ \t]+\p{Lu}(?:\.|\b))?(?:[ \t]+\p{Lu}[\p{Ll}'’-][\p{L}'’-]*){0,2})",
        name,
    ),
    (
        Kind::Name,
        r"\b(?i:my name is|his name is|her name is|maiden name is|patient name:?|full name:?|first name:?|last name:?|surname:?|name:)[ \t]+(?P<v>\p{Lu}[\p{L}'’-]+(?:[ \t]+\p{Lu}(?:\.|\b))?(?:[ \t]+\p{Lu}[\p{L}'’-]+){0,2})",
        name,
    ),
    (
        Kind::Name,
        r"\b(?:[Ii]'m|[Ii] am|[Tt]his is|said|[Ss]igned,?|speaking to|on behalf of)[ \t]+(?P<v>\p{Lu}\p{Ll}+(?:[ \t]+\p{Lu}(?:\.|\b))?[ \t]+\p{Lu}\p{Ll}[\p{L}'’-]*)",
        name,
    ),
    (Kind::Name, r"\bDear (?P<v>\p{Lu}\p{Ll}+(?: \p{Lu}\p{Ll}+)?)\b", name),
];

fn short_zip(found: Match<'_>) -> bool {
    found.digit_count() >= 3
}

/// Words that follow a title or a cue and are no name.
const NO_NAMES: [&str; 44] = [
    "sir",
    "madam",
    "team",
    "customer",
    "customers",
    "support",
    "all",
    "friend",
    "friends",
    "valued",
    "user",
    "users",
    "colleague",
    "colleagues",
    "doctor",
    "patient",
    "client",
    "member",
    "subscriber",
    "voucher",
    "matched",
    "god",
    "lord",
    "heart",
    "i",
    "the",
    "you",
    "u",
    "we",
    "he",
    "she",
    "my",
    "and",
    "who",
    "no",
    "not",
    "yes",
    "is",
    "good",
    "hiring",
    "sirs",
    "ladies",
    "gentlemen",
    "what",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_compiles_and_every_kind_has_a_rule() {
        assert_eq!(COMPILED.len(), RULES.len());
        for kind in Kind::ALL {
            assert!(COMPILED.iter().any(|rule| rule.kind == kind), "{kind:?}");
        }
    }
}
