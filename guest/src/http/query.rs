//! Query parameters, decoded and bounded.

use percent_encoding::percent_decode_str;

use super::error::{Answer, Refusal};

const QUERY_MAX_BYTES: usize = 16_384;

pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub fn parse(query: Option<&str>) -> Answer<Self> {
        let query = query.unwrap_or_default();
        if query.len() > QUERY_MAX_BYTES {
            let message = format!("cannot read the query: it is over {QUERY_MAX_BYTES} bytes");
            return Err(Refusal::invalid(message));
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Answer<_>>()?;
        Ok(Self { pairs })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn required(&self, name: &str) -> Answer<&str> {
        self.get(name).ok_or_else(|| Refusal::invalid(format!("the query lacks `{name}`; give it")))
    }

    pub fn flag(&self, name: &str) -> Answer<bool> {
        match self.get(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(other) => Err(Refusal::invalid(format!("`{name}` must be 0 or 1, not {other:?}"))),
        }
    }

    pub fn number(&self, name: &str) -> Answer<Option<u64>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                Err(Refusal::invalid(format!("`{name}` must be a whole number, not {text:?}")))
            }
        }
    }
}

fn decode(text: &str) -> Answer<String> {
    // `+` is a space in forms only; URLSearchParams writes it, so a literal one arrives as %2B.
    let text = text.replace('+', "%20");
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Refusal::invalid("cannot read the query: it is not UTF-8")),
    }
}
