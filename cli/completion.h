/* SPDX-License-Identifier: Apache-2.0 */
/* completion - what bash offers after `godwit`, made from the table of verbs. */
#ifndef GODWIT_COMPLETION_H
#define GODWIT_COMPLETION_H

void completion_print(void);

#endif
