package main

import (
	"cmp"
	"net/http"
	"strings"
)

// license is what others may do with a project.
type license struct {
	ID          string `json:"id"` // SPDX identifier (spdx.org/licenses)
	Name        string `json:"name"`
	URL         string `json:"url"`         // of its text; empty where there is none
	Derivatives bool   `json:"derivatives"` // whether changed versions may be shared
	ShareAlike  bool   `json:"share_alike"` // only under the same licence
}

// Short is what people who know the licence call it, such as "CC BY-SA 4.0".
func (l license) Short() string {
	if strings.HasPrefix(l.ID, "LicenseRef-") {
		return cmp.Or(l.Name, l.ID)
	}
	return strings.NewReplacer("CC-", "CC ", "-1.0", " 1.0", "-2.0", " 2.0", "-4.0", " 4.0").Replace(l.ID)
}

// licenses are those that a project can have: for texts and pictures, for
// programs, and for hardware.
var licenses = []license{
	{"CC0-1.0", "Creative Commons Zero 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", true, false},
	{"CC-BY-4.0", "Creative Commons Attribution 4.0", "https://creativecommons.org/licenses/by/4.0/", true, false},
	{"CC-BY-SA-4.0", "Creative Commons Attribution-ShareAlike 4.0", "https://creativecommons.org/licenses/by-sa/4.0/", true, true},
	{"CC-BY-NC-4.0", "Creative Commons Attribution-NonCommercial 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", true, false},
	{"CC-BY-NC-SA-4.0", "Creative Commons Attribution-NonCommercial-ShareAlike 4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/", true, true},
	{"CC-BY-ND-4.0", "Creative Commons Attribution-NoDerivatives 4.0", "https://creativecommons.org/licenses/by-nd/4.0/", false, false},
	{"CC-BY-NC-ND-4.0", "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0", "https://creativecommons.org/licenses/by-nc-nd/4.0/", false, false},
	{"MIT", "MIT License", "https://opensource.org/license/mit", true, false},
	{"Apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0", true, false},
	{"BSD-2-Clause", "BSD 2-Clause License", "https://opensource.org/license/bsd-2-clause", true, false},
	{"BSD-3-Clause", "BSD 3-Clause License", "https://opensource.org/license/bsd-3-clause", true, false},
	{"MPL-2.0", "Mozilla Public License 2.0", "https://www.mozilla.org/MPL/2.0/", true, true},
	{"LGPL-3.0-or-later", "GNU Lesser General Public License 3.0 or later", "https://www.gnu.org/licenses/lgpl-3.0.html", true, true},
	{"GPL-3.0-or-later", "GNU General Public License 3.0 or later", "https://www.gnu.org/licenses/gpl-3.0.html", true, true},
	{"AGPL-3.0-or-later", "GNU Affero General Public License 3.0 or later", "https://www.gnu.org/licenses/agpl-3.0.html", true, true},
	{"CERN-OHL-P-2.0", "CERN Open Hardware Licence 2 – Permissive", "https://ohwr.org/cern_ohl_p_v2.txt", true, false},
	{"CERN-OHL-W-2.0", "CERN Open Hardware Licence 2 – Weakly Reciprocal", "https://ohwr.org/cern_ohl_w_v2.txt", true, true},
	{"CERN-OHL-S-2.0", "CERN Open Hardware Licence 2 – Strongly Reciprocal", "https://ohwr.org/cern_ohl_s_v2.txt", true, true},
	{"TAPR-OHL-1.0", "TAPR Open Hardware License 1.0", "https://tapr.org/the-tapr-open-hardware-license/", true, true},
	{"LicenseRef-All-Rights-Reserved", "All rights reserved", "", false, false},
}

// licenseOf is the licence with an id; ok is false where none is chosen, or one
// that is not known here.
func licenseOf(id *string) (l license, ok bool) {
	for _, l := range licenses {
		if l.ID == deref(id) {
			return l, true
		}
	}
	return license{}, false
}

// license is an optional SPDX identifier; left out it stays current.
func (in *input) license(name string, current *string) *string {
	id := in.optional(name, current, 100)
	if _, known := licenseOf(id); id != nil && in.has(name) && !known {
		in.add(name, human(name)+" must be one of: "+strings.Join(licenseIDs(), ", "), "enum")
	}
	return id
}

func licenseIDs() (ids []string) {
	for _, l := range licenses {
		ids = append(ids, l.ID)
	}
	return ids
}

// licenseChoices is the option of a form's field that lets one choose.
func licenseChoices() string {
	choices := "choices=:Not chosen yet"
	for _, l := range licenses {
		choices += "|" + l.ID + ":" + l.Name
	}
	return choices
}

// showLicenses answers the licences that a project can have.
func (s *server) showLicenses(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, licenses)
}
