//! Commands that a command prints work when they are pasted: they carry the flags by which this one found its
//! installation or its server.

use super::session::RemoteArgs;
use crate::model::postgres::PostgresUrl;
use crate::server::settings::{Environment, Flags, Setting};

/// The flags of this command line that name an installation or a server, as a shell takes them.
#[derive(Debug, Clone, Default)]
pub struct Repeated {
    /// ` --data DIR`, … with a blank in front of each; empty when there is none.
    local: String,
    remote: String,
    /// The database's URL came from the environment and has a password, which no command line may show.
    secret_url: bool,
}

/// Variables that name an installation, by the setting that a flag can give as well.
const NAMED: [(&str, &str); 4] = [
    ("data", "CHANCERY_DATA"),
    ("database_url", "CHANCERY_DATABASE_URL"),
    ("config", "CHANCERY_CONFIG"),
    ("unlock_key", "CHANCERY_UNLOCK_KEY"),
];

impl Repeated {
    pub fn of(flags: &Flags, remote: &RemoteArgs, environment: &Environment) -> Repeated {
        let mut local = String::new();
        for (setting, value) in flags.iter().filter_map(|(key, value)| Some((Setting::find(key)?, value))) {
            local.push_str(&format!(" --{} {}", setting.flag, quoted(value)));
        }
        let mut secret_url = false;
        for (key, variable) in NAMED.into_iter().filter(|(key, _)| !flags.contains_key(key)) {
            let (Some(value), Some(setting)) = (environment.text(variable), Setting::find(key)) else { continue };
            // a variable set for one command is not there for the next
            match key == "database_url" && has_password(&value) {
                true => secret_url = true,
                false => local.push_str(&format!(" --{} {}", setting.flag, quoted(&value))),
            }
        }
        // a service manager names the directory to its service, and not to a shell
        if let Some(data) = environment.path("STATE_DIRECTORY").filter(|_| !flags.contains_key("data"))
            && environment.path("CHANCERY_DATA").is_none()
        {
            local.push_str(&format!(" --data {}", quoted(&data.display().to_string())));
        }
        let remote = remote.given().into_iter().map(|(flag, value)| format!(" --{flag} {}", quoted(&value)));
        Repeated { local, remote: remote.collect(), secret_url }
    }

    /// What printed commands need beside their flags.
    pub fn note(&self) -> Option<&'static str> {
        (self.secret_url && self.remote.is_empty()).then_some(
            "these commands need CHANCERY_DATABASE_URL as it was set for this one; it holds a password and is not printed",
        )
    }

    /// The note, where one of these lines has a command.
    pub fn note_on(&self, lines: &[String]) -> Option<&'static str> {
        self.note().filter(|_| lines.iter().any(|line| line.contains("`chancery ")))
    }

    /// `ca activate tls-2` as a whole command.
    pub fn command(&self, words: &str) -> String {
        format!("chancery{}{} {words}", self.local, self.remote)
    }

    /// The same in each command that stands in backquotes in a text about the installation of this host.
    pub fn in_text(&self, text: &str) -> String {
        if self.local.is_empty() || !self.remote.is_empty() {
            return text.to_owned();
        }
        text.replace("`chancery ", &format!("`chancery{} ", self.local))
    }
}

fn has_password(url: &str) -> bool {
    // what cannot be read is not printed either
    !url.starts_with("sqlite:") && PostgresUrl::parse(url).map_or(true, |url| url.has_password())
}

/// One word for a shell.
pub(super) fn quoted(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_carries_the_flags_of_the_one_that_prints_it() {
        let flags = Flags::from([("data", "my ca".to_owned())]);
        let repeated = Repeated::of(&flags, &RemoteArgs::default(), &Environment::default());
        assert_eq!(repeated.command("doctor"), "chancery --data 'my ca' doctor");
        assert_eq!(
            repeated.in_text("run `chancery doctor`, then sleep"),
            "run `chancery --data 'my ca' doctor`, then sleep"
        );
        let none = Repeated::of(&Flags::new(), &RemoteArgs::default(), &Environment::default());
        assert_eq!(
            (none.command("doctor").as_str(), none.in_text("`chancery x`").as_str()),
            ("chancery doctor", "`chancery x`")
        );
        let prefixed = Environment::of(&[("CHANCERY_DATABASE_URL", "postgres://ca@db/ca"), ("CHANCERY_DATA", "D")]);
        let repeated = Repeated::of(&Flags::new(), &RemoteArgs::default(), &prefixed);
        assert_eq!(repeated.command("doctor"), "chancery --data D --database-url postgres://ca@db/ca doctor");
        assert_eq!(repeated.note(), None);
        for secret in
            ["postgres://ca:hunter2@db/ca", "postgres://ca@db/ca?password=hunter2", "host=db password=hunter2"]
        {
            let secret = Environment::of(&[("CHANCERY_DATABASE_URL", secret)]);
            let repeated = Repeated::of(&Flags::new(), &RemoteArgs::default(), &secret);
            assert_eq!(repeated.command("doctor"), "chancery doctor");
            assert!(repeated.note().unwrap().contains("CHANCERY_DATABASE_URL"));
        }
        let unit = Environment::of(&[("STATE_DIRECTORY", "/var/lib/chancery")]);
        let repeated = Repeated::of(&Flags::new(), &RemoteArgs::default(), &unit);
        assert_eq!(repeated.command("doctor"), "chancery --data /var/lib/chancery doctor");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
