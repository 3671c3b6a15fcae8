//! Reading fields of a JSON document, with messages that name the place.

use super::Command;
use crate::fault::{Fault, Outcome};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// One object of the document, with its place for messages.
pub struct Fields<'a> {
    pub object: &'a Map<String, Value>,
    place: String,
}

pub fn bad(place: &str, wanted: &str) -> Fault {
    Fault::new(
        "invalid_request",
        "launch",
        format!("cannot read LAUNCH.json: {place} must be {wanted}"),
    )
}

impl<'a> Fields<'a> {
    pub fn of(value: &'a Value, place: &str) -> Outcome<Self> {
        let object = value.as_object().ok_or_else(|| bad(place, "an object"))?;
        Ok(Self {
            object,
            place: place.to_owned(),
        })
    }

    pub fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub fn child(&self, name: &str) -> Outcome<Option<Fields<'a>>> {
        self.get(name)
            .map(|value| Fields::of(value, &self.place(name)))
            .transpose()
    }

    pub fn text(&self, name: &str) -> Outcome<String> {
        let text = self
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty() && !text.contains('\0'));
        text.map(str::to_owned)
            .ok_or_else(|| bad(&self.place(name), "a string"))
    }

    pub fn path(&self, name: &str) -> Outcome<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(bad(&self.place(name), "an absolute path"))
        }
    }

    pub fn number(&self, name: &str) -> Outcome<u64> {
        self.get(name)
            .and_then(Value::as_u64)
            .ok_or_else(|| bad(&self.place(name), "a whole number from 0"))
    }

    pub fn uid(&self, name: &str) -> Outcome<u32> {
        u32::try_from(self.number(name)?).map_err(|_| bad(&self.place(name), "a user id"))
    }

    pub fn list(&self, name: &str) -> Outcome<&'a [Value]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(value) => value
                .as_array()
                .map(Vec::as_slice)
                .ok_or_else(|| bad(&self.place(name), "a list")),
        }
    }

    pub fn command(&self, name: &str) -> Outcome<Option<Command>> {
        let Some(fields) = self.child(name)? else {
            return Ok(None);
        };
        let strings = fields
            .list("argv")?
            .iter()
            .map(|value| value.as_str().map(str::to_owned));
        let argv = strings
            .collect::<Option<Vec<_>>>()
            .filter(|argv| argv.first().is_some_and(|first| first.starts_with('/')));
        let argv = argv.ok_or_else(|| {
            bad(
                &fields.place("argv"),
                "strings that begin with an absolute path",
            )
        })?;
        let mut env = Vec::new();
        if let Some(variables) = fields.child("env")? {
            for name in variables.object.keys() {
                env.push((name.clone(), variables.text(name)?));
            }
        }
        Ok(Some(Command { argv, env }))
    }
}
