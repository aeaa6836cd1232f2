//! The kinds of identifier that patterns and checksums can find.

/// A kind of identifier, after the HIPAA Safe Harbor list (45 CFR 164.514(b)(2)(i)).
///
/// What no pattern can find is not here: faces, biometric data, places below a state written out in words, names without a title or
/// another cue before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A name after a title or a cue such as "my name is".
    Name,
    /// A street address, post box or unit.
    Address,
    /// A postal code with its cue or in its country's shape.
    Zip,
    /// A date finer than a year.
    Date,
    /// An age over 89.
    Age,
    /// A telephone number.
    Phone,
    /// A fax number.
    Fax,
    /// An email address.
    Email,
    /// A US social security number.
    Ssn,
    /// A medical record or patient number.
    MedicalRecord,
    /// A health plan, policy or member number.
    HealthPlan,
    /// A bank or customer account number.
    Account,
    /// A payment card number.
    Card,
    /// An IBAN.
    Iban,
    /// A licence, certificate or passport number.
    Certificate,
    /// A vehicle identification number.
    Vin,
    /// A licence plate.
    Plate,
    /// A device's serial number, IMEI or hardware address.
    Device,
    /// A web address.
    Url,
    /// An IP address.
    Ip,
    /// Another number that stands for one order, invoice, case or booking.
    Reference,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub const ALL: [Kind; 21] = [
        Kind::Name,
        Kind::Address,
        Kind::Zip,
        Kind::Date,
        Kind::Age,
        Kind::Phone,
        Kind::Fax,
        Kind::Email,
        Kind::Ssn,
        Kind::MedicalRecord,
        Kind::HealthPlan,
        Kind::Account,
        Kind::Card,
        Kind::Iban,
        Kind::Certificate,
        Kind::Vin,
        Kind::Plate,
        Kind::Device,
        Kind::Url,
        Kind::Ip,
        Kind::Reference,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// The word inside a replacement tag.
    pub fn tag(self) -> &'static str {
        self.names().1
    }

    /// The kind in a sentence.
    pub fn words(self) -> &'static str {
        self.names().2
    }

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::Name => ("name", "NAME", "a name"),
            Kind::Address => ("address", "ADDRESS", "a street address"),
            Kind::Zip => ("zip", "ZIP", "a postal code"),
            Kind::Date => ("date", "DATE", "a date finer than a year"),
            Kind::Age => ("age", "AGE", "an age over 89"),
            Kind::Phone => ("phone", "PHONE", "a phone number"),
            Kind::Fax => ("fax", "FAX", "a fax number"),
            Kind::Email => ("email", "EMAIL", "an email address"),
            Kind::Ssn => ("ssn", "SSN", "a social security number"),
            Kind::MedicalRecord => ("medical_record", "MRN", "a medical record number"),
            Kind::HealthPlan => ("health_plan", "PLAN", "a health plan number"),
            Kind::Account => ("account", "ACCOUNT", "an account number"),
            Kind::Card => ("card", "CARD", "a card number"),
            Kind::Iban => ("iban", "IBAN", "an IBAN"),
            Kind::Certificate => ("certificate", "LICENCE", "a licence or certificate number"),
            Kind::Vin => ("vin", "VIN", "a vehicle identification number"),
            Kind::Plate => ("plate", "PLATE", "a licence plate"),
            Kind::Device => ("device", "DEVICE", "a device number"),
            Kind::Url => ("url", "URL", "a web address"),
            Kind::Ip => ("ip", "IP", "an IP address"),
            Kind::Reference => ("reference", "REFERENCE", "a reference number"),
        }
    }
}
