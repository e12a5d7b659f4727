// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// refusals is the table of the errors chapter, section 5: each code with its status and the operations that answer it, where
// "-" stands for whichever do. Operations are those of [shorthands], or a method and a path.
const refusals = `
InvalidAPIKey 401 -
InvalidAPIKey 401 GET:/sharedkeys/{}
DeletedUser 403 gen pop POST:/kudos/award POST:/styles/image POST:/collections
DeletedUser 400 POST:/kudos/transfer
NotAdmin 403 PUT:/users/{} PUT:/status/modes
NotModerator 403 -
NotOwner 403 PUT:/workers/{} PATCH:/teams/{}
NotAllowedAwards 403 POST:/kudos/award
AnonForbidden 403 PUT:/sharedkeys POST:/teams POST:/workers/messages
AnonForbiddenWorker 403 pop PUT:/workers/{} DELETE:/workers/{}
AnonForbiddenUserMod 403 PUT:/users/{}
AnonForbiddenUser 403 DELETE:/users/{}
UserNotFound 404 GET:/users/{} GET:/find_user
ProfaneUserName 400 PUT:/users/{}
ProfaneUserContact 400 PUT:/users/{}
ProfaneAdminComment 400 PUT:/users/{}
TooLongUserName 400 PUT:/users/{}
NoUserModSelected 400 PUT:/users/{}
NonServiceForbidden 403 PUT:/users/{}
UserNotDeleted 400 PUT:/users/{}
CannotDeleteMod 403 DELETE:/users/{}
NotUserOrMod 403 DELETE:/users/{}
CannotWipeActiveUser 403 DELETE:/users/{}
NoSharedKeyModSelected 400 PATCH:/sharedkeys/{}

MaintenanceMode 400 gen alch
SharedKeyEmpty 403 gen
SharedKeyExpired 403 gen
SharedKeyExpired 400 POST:/kudos/transfer
SharedKeyAssignedStyles 403 gen
SharedKeyInsufficientKudos 403 gen
KudosUpfront 403 gen
OnlyServiceAccountProxy 400 gen
TooManyExtraSourceImages. 400 gen
MoreThanMinExtraSourceImage. 400 gen
InvalidExtraSourceImages. 400 gen
MissingPrompt 400 txt
WorkerNotFound 404 gen
RequiresTrust 400 gen
TooManyPrompts 429 gen alch
TimeoutIP 403 gen pop
CorruptPrompt 400 gen
UntrustedUnsafeIP 403 img alch
BannedClientAgent 403 img
NulByteInPayload 400 -
HiResMismatch 400 img POST:/styles/image
TooManyLoras 400 img POST:/styles/image
BadLoraVersion 400 img POST:/styles/image
TooManyTIs 400 img POST:/styles/image
InvalidTransparencyModel 400 img POST:/styles/image
ControlNetMismatch. 400 img POST:/styles/image
InvalidPromptSize 400 img POST:/styles/image
UnexpectedModelName 400 img POST:/styles/image
TooManyUpscalers 400 img POST:/styles/image
BadCFGDecimals 400 img POST:/styles/image
SpecialMissingUsername 400 img
SpecialMissingPayload 400 img
SourceMaskUnnecessary 400 img
ControlNetUnsupported 400 img
ControlNetSourceMissing 400 img
ControlNetInpaintingMismatch 400 img
ControlNetMismatch 400 img
ControlNetInvalidPayload 400 img
InvalidTransparencyImg2Img 400 img
InvalidTransparencyCN 400 img
InvalidRemix 400 img
InvalidExtraTexts. 400 img
MissingExtraTexts. 400 img
SourceImageRequiredForModel 400 img
BetaAnonForbidden 403 img
BetaComparisonFault 400 img
ImageValidationFailed 400 img alch
SourceImageResolutionExceeded 400 img alch
SourceImageSizeExceeded 400 img alch
SourceImageUrlInvalid 400 img alch
SourceImageUnreadable 400 img alch
InpaintingMissingMask 400 img
TokenOverflow 400 txt POST:/styles/text
MissingFullSamplerOrder 400 txt POST:/styles/text
TooManyStopSequences 400 txt POST:/styles/text
ExcessiveStopSequence 400 txt POST:/styles/text
StyleNotFound 404 gen PATCH:/styles/image/{} DELETE:/styles/image/{} GET:/styles/image_by_name/{} POST:/styles/image/{}/example

RequestNotFound 404 GET:/generate/check/{} GET:/generate/status/{} DELETE:/generate/status/{} GET:/generate/text/status/{} POST:/generate/rate/{} GET:/interrogate/status/{}
Forbidden 403 GET:/generate/check/{}
AestheticsNotCompleted 400 POST:/generate/rate/{}
AestheticsNotPublic 400 POST:/generate/rate/{}
ProcGenNotFound 400 POST:/generate/rate/{}
AestheticsDuplicate 400 POST:/generate/rate/{}
AestheticsMissing 400 POST:/generate/rate/{}
AestheticsSolo 400 POST:/generate/rate/{}
AestheticsConfused 400 POST:/generate/rate/{}
AestheticsAlreadyExist 400 POST:/generate/rate/{}
AestheticsServerRejected 400 POST:/generate/rate/{}
AestheticsServerError 400 POST:/generate/rate/{}
AestheticsServerDown 400 POST:/generate/rate/{}
AestheticsServerTimeout 400 POST:/generate/rate/{}
InvalidAestheticAttempt 400 POST:/generate/rate/{}

WorkerFlaggedMaintenance 403 pop
WorkerMaintenance 403 pop
PolymorphicNameConflict 400 pop
ProfaneWorkerName 400 pop PUT:/workers/{}
ProfaneBridgeAgent 400 pop
WorkerInviteOnly 403 pop
TooManyWorkers 403 pop
TooManyWorkersTrusted 403 -
TooManySameIPs 403 -
UnsafeIP 403 pop
TooManyNewIPs 403 pop
WrongCredentials 403 pop submit
InvalidPriorityUsername 400 POST:/generate/pop POST:/generate/text/pop
InvalidJobID 404 submit
DuplicateGen 400 submit
AbortedGen 400 POST:/generate/submit POST:/generate/text/submit
WorkerNotFound 404 GET:/workers/{} PUT:/workers/{} DELETE:/workers/{} GET:/workers/name/{} PUT:/operations/block_worker_ipaddr/{} POST:/workers/messages
ProfaneWorkerInfo 400 PUT:/workers/{}
TooLongWorkerName 400 pop
WorkerNameAlreadyExists 400 PUT:/workers/{}
NoWorkerModSelected 400 PUT:/workers/{}
Locked 423 DELETE:/workers/{}
MessagesOnlyOwnWorkers 403 POST:/workers/messages
WorkermessageNotFound 404 GET:/workers/messages/{} DELETE:/workers/messages/{}

TooFastKudosTransfers 400 POST:/kudos/transfer
FaultWhenKudosSending 400 POST:/kudos/transfer
FaultWhenKudosReceiving 400 POST:/kudos/transfer
SourceAccountFlagged 400 POST:/kudos/transfer
TargetAccountFlagged 400 POST:/kudos/transfer
EducationCannotSendKudos 400 POST:/kudos/transfer
NegativeKudosTransfer 400 POST:/kudos/transfer
InvalidKudosTransferAmount 400 POST:/kudos/transfer
IdempotencyKeyConflict 400 POST:/kudos/transfer
KudosTransferNotEnough 400 POST:/kudos/transfer
InvalidTargetUsername 400 POST:/kudos/transfer
KudosTransferToAnon 400 POST:/kudos/transfer
KudosTransferToSelf 400 POST:/kudos/transfer
KudosTransferFromAnon 400 POST:/kudos/transfer
InvalidAwardUsername 400 POST:/kudos/award
KudosAwardToAnon 400 POST:/kudos/award

UntrustedTeamCreation 403 POST:/teams
TeamNotFound 404 GET:/teams/{} PATCH:/teams/{} PUT:/workers/{}
TeamNameAlreadyExists 400 POST:/teams PATCH:/teams/{}
ProfaneTeamName 400 POST:/teams PATCH:/teams/{}
ProfaneTeamInfo 400 POST:/teams PATCH:/teams/{}
NoTeamModSelected 400 PATCH:/teams/{}
StylesAnonForbidden 403 POST:/collections DELETE:/styles/image/{}
StylesRequiresCustomizer 403 POST:/styles/image POST:/styles/text
Image_styleNotFound 404 GET:/styles/image/{}
Text_styleNotFound 404 GET:/styles/text/{}
Style_exampleNotFound 404 PATCH:/styles/image/{}/example/{} DELETE:/styles/image/{}/example/{}
CollectionNotFound 404 GET:/collections/{} PATCH:/collections/{} DELETE:/collections/{} GET:/collection_by_name/{}
FilterNotFound 404 GET:/filters/{} PATCH:/filters/{} DELETE:/filters/{}
NoFilterModSelected 400 PATCH:/filters/{}
NoHordeModSelected 400 PUT:/status/modes

BadRequest 400 gen alch pop POST:/generate/submit POST:/generate/text/submit POST:/styles/image POST:/styles/image/{}/example POST:/collections GET:/status/models GET:/stats/img/models GET:/documents/terms POST:/operations/ipaddr
Forbidden 403 img PATCH:/sharedkeys/{} DELETE:/sharedkeys/{} PUT:/sharedkeys PATCH:/styles/image/{} PATCH:/collections/{} DELETE:/workers/messages/{}
`

// shorthands are the names of operations in the chapter.
var shorthands = map[string][]string{
	"img": {"POST:/generate/async"}, "txt": {"POST:/generate/text/async"}, "gen": {"POST:/generate/async", "POST:/generate/text/async"},
	"alch": {"POST:/interrogate/async"}, "pop": {"POST:/generate/pop", "POST:/generate/text/pop", "POST:/interrogate/pop"},
	"submit": {"POST:/generate/submit", "POST:/generate/text/submit", "POST:/interrogate/submit"},
}

// never are refusals of the table that cannot be, and why.
var never = map[string]string{
	"BadCFGNumber 400 POST:/generate/async": "what is no number does not pass the schema",
}

// warnings are those of the errors chapter, section 7.
var warnings = strings.Fields(`ClipSkipMismatch StepsTooFew StepsTooMany CfgScaleMismatch CfgScaleTooSmall CfgScaleTooLarge SamplerMismatch
	SchedulerMismatch NoAvailableWorker`)

// matched are the texts in messages that programs in use search for (errors chapter, section 4; clients chapter, 10.10).
var matched = []struct {
	rc, operations string
	// text has to be in the message, whatever its case; whole says that it is all of it.
	text  string
	whole bool
}{
	{"InvalidJobID", "submit", "Processing Job with ID", false},
	{"InvalidJobID", "submit", "does not exist", false},
	{"DuplicateGen", "submit", "already submitted", false},
	{"AbortedGen", "POST:/generate/submit POST:/generate/text/submit", "Please check your worker speed", false},
	{"WorkerMaintenance", "pop", "maintenance mode", false},
	{"BadRequest", "POST:/generate/pop", "we cannot accept workers serving", false},
	{"WrongCredentials", "pop submit", "wrong credentials", false},
	{"UntrustedUnsafeIP", "img", "Only Trusted users are allowed to perform this operation", true},
	{"CorruptPrompt", "img", "unethical images", false},
	{"ImageValidationFailed", "img alch", "Image validation failed", false},
	{"", "img", "2 per 1 second", true},
}

// answered is what calls of this run were answered: keys are made by the functions below, values are whether it was seen.
var answered struct {
	sync.Mutex
	refusals, warnings map[string]bool
	messages           map[string]map[string]bool // by rc and operation
}

var inBraces = regexp.MustCompile(`\{[^}]*\}`)

// noteAnswer keeps what an operation, as "POST /api/v2/…", has answered.
func noteAnswer(pattern string, a answer) {
	operation := inBraces.ReplaceAllString(strings.Replace(pattern, " /api/v2", ":", 1), "{}")
	answered.Lock()
	defer answered.Unlock()
	if answered.refusals == nil {
		answered.refusals, answered.warnings, answered.messages = map[string]bool{}, map[string]bool{}, map[string]map[string]bool{}
	}
	if a.status >= http.StatusBadRequest {
		rc := a.rc()
		answered.refusals[fmt.Sprint(strings.ReplaceAll(rc, " ", "_"), " ", a.status, " ", operation)] = true
		answered.refusals[fmt.Sprint(strings.ReplaceAll(rc, " ", "_"), " ", a.status, " -")] = true
		if message, _ := a.at("message").(string); rc != "" || a.status == http.StatusTooManyRequests {
			key := rc + " " + operation
			if answered.messages[key] == nil {
				answered.messages[key] = map[string]bool{}
			}
			answered.messages[key][message] = true
		}
		return
	}
	if m, _ := a.value.(map[string]any); m != nil {
		list, _ := m["warnings"].([]any)
		for _, w := range list {
			if code, _ := w.(map[string]any)["code"].(string); code != "" {
				answered.warnings[code] = true
			}
		}
	}
}

// spelledOut are the operations that names stand for.
func spelledOut(names ...string) (all []string) {
	for _, name := range names {
		if long := shorthands[name]; long != nil {
			all = append(all, long...)
		} else {
			all = append(all, name)
		}
	}
	return all
}

// tellRefusals writes what of the tables was answered, and returns what was not.
func tellRefusals(w io.Writer) (missing []string) {
	answered.Lock()
	defer answered.Unlock()
	rows := 0
	for line := range strings.Lines(refusals) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		for _, operation := range spelledOut(f[2:]...) {
			rows++
			key := f[0] + " " + f[1] + " " + operation
			if !answered.refusals[key] && never[key] == "" {
				missing = append(missing, key)
			}
		}
	}
	fmt.Fprintf(w, "refusals: %d of %d were provoked, and %d cannot be\n", rows-len(missing), rows, len(never))
	for _, key := range slices.Sorted(maps.Keys(never)) {
		fmt.Fprintf(w, "  %s: %s\n", key, never[key])
		if answered.refusals[key] {
			missing = append(missing, key+" is said to be impossible")
		}
	}
	for _, code := range warnings {
		if !answered.warnings[code] {
			missing = append(missing, "the warning "+code)
		}
	}
	fmt.Fprintf(w, "warnings: %d\n", len(answered.warnings))
	for _, m := range matched {
		for _, operation := range spelledOut(strings.Fields(m.operations)...) {
			found := false
			for message := range answered.messages[m.rc+" "+operation] {
				found = found || m.whole && message == m.text || !m.whole && strings.Contains(strings.ToLower(message), strings.ToLower(m.text))
			}
			if !found {
				missing = append(missing, fmt.Sprintf("%s of %s with %q", m.rc, operation, m.text))
			}
		}
	}
	return missing
}
