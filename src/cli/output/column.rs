//! Every heading of every table. A thing has one heading wherever it stands, and the heading says how its cells may be
//! shortened and coloured.

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What other commands take to find the row: never shortened.
    Handle,
    /// An id, serial or fingerprint of something else: shortened in the middle.
    Reference,
    /// A word of few: never shortened, because half a word says nothing.
    Word,
    /// A word that says whether something is well.
    State,
    /// A time that something happened, or will.
    Time,
    /// The time that something stops working.
    Expiry,
    /// A name or a list of names: shortened at its end.
    Text,
    /// A sentence: wrapped.
    Sentence,
}

macro_rules! columns {
    ($($name:ident $heading:literal $kind:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Column { $($name,)* }

        impl Column {
            #[cfg(test)]
            pub const ALL: &[Column] = &[$(Column::$name,)*];

            pub const fn heading(self) -> &'static str {
                match self { $(Column::$name => $heading,)* }
            }

            pub const fn kind(self) -> Kind {
                match self { $(Column::$name => Kind::$kind,)* }
            }
        }
    };
}

columns! {
    Account "ACCOUNT" Reference,
    Accounts "ACCOUNTS" Word,
    Action "ACTION" Text,
    Actor "ACTOR" Text,
    Address "ADDRESS" Text,
    Blocked "BLOCKED" Time,
    BlockedBy "BLOCKED BY" Text,
    Bundle "BUNDLE" Text,
    Certificates "CERTIFICATES" Text,
    Challenge "CHALLENGE" Word,
    ChallengeStatus "CHALLENGE STATUS" State,
    Challenges "CHALLENGES" Text,
    Check "CHECK" Word,
    Comment "COMMENT" Sentence,
    Contact "CONTACT" Text,
    Count "COUNT" Word,
    Created "CREATED" Time,
    Current "CURRENT" Word,
    Default "DEFAULT" Word,
    Detail "DETAIL" Sentence,
    Directory "DIRECTORY" Text,
    Domain "DOMAIN" Word,
    EabRequired "EAB REQUIRED" Word,
    End "END" Time,
    Expires "EXPIRES" Expiry,
    Failures "FAILURES" Word,
    FailingSince "FAILING SINCE" Time,
    Fingerprint "FINGERPRINT" Handle,
    Grant "GRANT" Reference,
    Id "ID" Handle,
    IssuedBefore "ISSUED BEFORE" Time,
    Issuer "ISSUER" Text,
    Key "KEY" Word,
    KeyId "KID" Reference,
    Kind "KIND" Word,
    LastSignIn "LAST SIGN-IN" Time,
    LastUsed "LAST USED" Time,
    Limit "LIMIT" Word,
    Maximum "MAX" Word,
    Member "MEMBER" Word,
    Name "NAME" Text,
    Names "NAMES" Text,
    Object "OBJECT" Reference,
    Order "ORDER" Reference,
    Origin "ORIGIN" Word,
    Outcome "OUTCOME" State,
    Paused "PAUSED" Time,
    Place "PLACE" Text,
    Profile "PROFILE" Text,
    Profiles "PROFILES" Text,
    Reason "REASON" Sentence,
    RequestedBy "REQUESTED BY" Text,
    Resolvers "RESOLVERS" Text,
    Revision "REVISION" Word,
    Role "ROLE" Word,
    Serial "SERIAL" Reference,
    Setting "SETTING" Word,
    Start "START" Time,
    Status "STATUS" State,
    Store "STORE" Word,
    Subject "SUBJECT" Text,
    Time "TIME" Time,
    TokenFile "TOKEN FILE" Text,
    Tool "TOOL" Word,
    Trusts "TRUSTS" State,
    Url "URL" Text,
    Used "USED" Word,
    Uses "USES" Text,
    Value "VALUE" Sentence,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words for what has another heading.
    const BANNED: &[(&str, &str)] = &[
        ("UNTIL", "EXPIRES"),
        ("EXPIRY", "EXPIRES"),
        ("NOT AFTER", "EXPIRES"),
        ("REQUESTER", "REQUESTED BY"),
        ("MADE", "CREATED"),
        ("SINCE", "CREATED or BLOCKED"),
        ("BY", "REQUESTED BY or BLOCKED BY"),
        ("AT", "TIME"),
        ("WHEN", "TIME"),
        ("STATE", "STATUS"),
        ("IS", "STATUS"),
        ("SLUG", "NAME"),
        ("SHA256", "FINGERPRINT"),
        ("ROOT", "FINGERPRINT"),
        ("WHY", "DETAIL"),
        ("NOTE", "DETAIL"),
        ("WHAT", "ACTION"),
        ("FROM", "ADDRESS"),
        ("TIMES", "COUNT"),
        ("OF", "MAX"),
        ("RULE", "MEMBER"),
    ];

    #[test]
    fn a_thing_has_one_heading() {
        let mut seen = std::collections::BTreeMap::new();
        for column in Column::ALL {
            let heading = column.heading();
            assert_eq!(heading, heading.to_uppercase());
            assert!(seen.insert(heading, column).is_none(), "two columns are headed {heading}");
            let banned = BANNED.iter().find(|(word, _)| *word == heading);
            assert!(banned.is_none(), "{heading}: write {}", banned.unwrap().1);
        }
    }
}
