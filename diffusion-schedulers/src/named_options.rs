//! Options that are chosen by name and have settings of their own.

use std::mem::discriminant;

use diffusion_core::SettingError;

/// The option of this name, with its default settings.
pub(crate) fn parse<T: Copy>(setting: &'static str, options: &[(&str, T)], name: &str) -> Result<T, SettingError> {
    let found = options.iter().find(|(known, _)| *known == name).map(|(_, option)| *option);
    found.ok_or_else(|| {
        let known: Vec<&str> = options.iter().map(|(known, _)| *known).collect();
        SettingError::new(setting, known.join(", "), name)
    })
}

/// The name of an option, whatever its settings; that of the first one if it has none.
pub(crate) fn name<T>(options: &[(&'static str, T)], option: &T) -> &'static str {
    options.iter().find(|(_, known)| discriminant(known) == discriminant(option)).unwrap_or(&options[0]).0
}
