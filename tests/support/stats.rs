//! The statistics, as a client reads them.

use serde_json::Value;

pub struct Stats(pub Value);

pub struct Vassal<'a>(pub &'a Value);

impl Stats {
    /// `None` where the emperor closed without an answer; bytes that are no JSON fail the test.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        let parsed = serde_json::from_slice(bytes);
        Some(Self(
            parsed
                .unwrap_or_else(|why| panic!("no JSON: {why}\n{}", String::from_utf8_lossy(bytes))),
        ))
    }

    pub fn top(&self, key: &str) -> &Value {
        self.0.get(key).unwrap_or_else(|| panic!("no key {key} in {}", self.0))
    }

    pub fn vassals(&self) -> &Vec<Value> {
        self.top("vassals").as_array().expect("vassals is an array")
    }

    pub fn find(&self, id: &str) -> Option<Vassal<'_>> {
        self.vassals().iter().find(|vassal| vassal["id"] == id).map(Vassal)
    }

    pub fn vassal(&self, id: &str) -> Vassal<'_> {
        self.find(id).unwrap_or_else(|| panic!("no vassal {id} in {}", self.0))
    }

    /// The entry of the blacklist with this name.
    pub fn blacklisted(&self, id: &str) -> Option<Vassal<'_>> {
        let list = self.top("blacklist").as_array().expect("blacklist is an array");
        list.iter().find(|entry| entry["id"] == id).map(Vassal)
    }

    /// How many vassals run.
    pub fn up(&self) -> usize {
        self.vassals().iter().filter(|vassal| vassal["state"] == "running").count()
    }
}

impl Vassal<'_> {
    pub fn pid(&self) -> Option<i32> {
        self.0["pid"].as_i64().filter(|&pid| pid > 0).map(|pid| pid as i32)
    }

    pub fn number(&self, key: &str) -> i64 {
        self.0[key].as_i64().unwrap_or_else(|| panic!("{key} is no number in {}", self.0))
    }

    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {}", self.0))
    }
}
