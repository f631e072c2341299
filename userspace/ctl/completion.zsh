#compdef droverctl
# SPDX-License-Identifier: GPL-2.0-or-later
_arguments '-s[QMP socket]:socket:_files' '--json[print the answer]' \
	'1:verb:(migrate incoming status watch cancel continue settle set get options events host-limit monitor quit)' \
	'*:argument:_files'
