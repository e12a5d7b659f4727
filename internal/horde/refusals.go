// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "net/http"

func refusal(status int, rc, message string) *Error {
	return &Error{RC: rc, Status: status, Message: message}
}

// Refusals of callers (errors chapter, 5.1).
var (
	ErrInvalidAPIKey     = refusal(http.StatusUnauthorized, "InvalidAPIKey", "No user matches this API key. Register one on the horde's page.")
	ErrDeletedUser       = refusal(http.StatusForbidden, "DeletedUser", "This account is scheduled for deletion.")
	ErrNotAdmin          = refusal(http.StatusForbidden, "NotAdmin", "Only admins of this horde may do this.")
	ErrNotModerator      = refusal(http.StatusForbidden, "NotModerator", "Only moderators may do this.")
	ErrNotOwner          = refusal(http.StatusForbidden, "NotOwner", "Only the owner or a moderator may do this.")
	ErrUserNotFound      = refusal(http.StatusNotFound, "UserNotFound", "There is no such user.")
	ErrAnonForbidden     = refusal(http.StatusForbidden, "AnonForbidden", "The anonymous account cannot do this.")
	ErrAnonForbiddenUser = refusal(http.StatusForbidden, "AnonForbiddenUser", "The anonymous account cannot do this.")
	ErrAnonUserMod       = refusal(http.StatusForbidden, "AnonForbiddenUserMod", "The anonymous account cannot change users.")
	ErrCannotDeleteMod   = refusal(http.StatusForbidden, "CannotDeleteMod", "Moderators cannot be deleted.")
	ErrNotUserOrMod      = refusal(http.StatusForbidden, "NotUserOrMod", "Only the user or a moderator may delete an account.")
	ErrWipeActiveUser    = refusal(http.StatusForbidden, "CannotWipeActiveUser", "The account was active in the last 30 days and cannot be wiped yet.")
	ErrUserNotDeleted    = refusal(http.StatusBadRequest, "UserNotDeleted", "The account is not scheduled for deletion.")
	ErrNoUserModSelected = refusal(http.StatusBadRequest, "NoUserModSelected", "Nothing to change was given.")
	ErrNonService        = refusal(http.StatusForbidden, "NonServiceForbidden", "Only service accounts have a proxy passkey.")
	ErrProfaneUserName   = refusal(http.StatusBadRequest, "ProfaneUserName", "This name contains profanity.")
	ErrTooLongUserName   = refusal(http.StatusBadRequest, "TooLongUserName", "A user name has at most 30 characters.")
	ErrProfaneContact    = refusal(http.StatusBadRequest, "ProfaneUserContact", "This contact contains profanity.")
	ErrProfaneComment    = refusal(http.StatusBadRequest, "ProfaneAdminComment", "This comment contains profanity.")
)

// Refusals of submissions (errors chapter, 5.2).
var (
	ErrMaintenanceMode     = refusal(http.StatusBadRequest, "MaintenanceMode", "The horde is in maintenance mode and takes no new requests for now.")
	ErrWebhook             = refusal(http.StatusBadRequest, "BadRequest", "A webhook must start with https://")
	ErrProxiedAccount      = refusal(http.StatusBadRequest, "OnlyServiceAccountProxy", "Only service accounts may set proxied_account.")
	ErrStyleNotFound       = refusal(http.StatusNotFound, "StyleNotFound", "There is no such style.")
	ErrTooManyExtraImages  = refusal(http.StatusBadRequest, "TooManyExtraSourceImages.", "A request takes at most 5 extra source images.")
	ErrMoreThanMinExtra    = refusal(http.StatusBadRequest, "MoreThanMinExtraSourceImage.", "Only trusted users and patrons may send more than 1 extra source image.")
	ErrInvalidExtraImages  = refusal(http.StatusBadRequest, "InvalidExtraSourceImages.", "Extra source images are for remixes only.")
	ErrMissingPrompt       = refusal(http.StatusBadRequest, "MissingPrompt", "The prompt is empty.")
	ErrRequestWorker       = refusal(http.StatusNotFound, "WorkerNotFound", "A worker in the list does not exist.")
	ErrRequiresTrust       = refusal(http.StatusBadRequest, "RequiresTrust", "Only trusted users and patrons may disable batching for more than one result.")
	ErrTooManyPrompts      = refusal(http.StatusTooManyRequests, "TooManyPrompts", "Too many results are waiting already.")
	ErrTimeoutIP           = refusal(http.StatusForbidden, "TimeoutIP", "This address is in timeout.")
	ErrCorruptPrompt       = refusal(http.StatusBadRequest, "CorruptPrompt", "This prompt was rejected.")
	ErrNulByte             = refusal(http.StatusBadRequest, "NulByteInPayload", "The payload contains a NUL byte.")
	ErrBannedClientAgent   = refusal(http.StatusForbidden, "BannedClientAgent", "This Client-Agent is blocked. Name your own program in it.")
	ErrUntrustedUnsafeIP   = refusal(http.StatusForbidden, "UntrustedUnsafeIP", "Only Trusted users are allowed to perform this operation")
	ErrHiResMismatch       = refusal(http.StatusBadRequest, "HiResMismatch", "hires_fix does not work with Flux, Qwen and Z-Image models.")
	ErrTooManyLoras        = refusal(http.StatusBadRequest, "TooManyLoras", "A request takes at most 5 LoRAs.")
	ErrBadLoraVersion      = refusal(http.StatusBadRequest, "BadLoraVersion", "With is_version a LoRA's name must be its numeric version id.")
	ErrTooManyTIs          = refusal(http.StatusBadRequest, "TooManyTIs", "A request takes at most 20 textual inversions.")
	ErrTransparencyModel   = refusal(http.StatusBadRequest, "InvalidTransparencyModel", "Transparent images need a Stable Diffusion 1.5 or SDXL model.")
	ErrQRCodeModel         = refusal(http.StatusBadRequest, "ControlNetMismatch.", "The qr_code workflow needs a Stable Diffusion 1.5 or SDXL model.")
	ErrInvalidPromptSize   = refusal(http.StatusBadRequest, "InvalidPromptSize", "The prompt is too long. For images it has at most 7500 words.")
	ErrUnexpectedModel     = refusal(http.StatusBadRequest, "UnexpectedModelName", "A name in the list is not a model that makes images from text.")
	ErrTooManyUpscalers    = refusal(http.StatusBadRequest, "TooManyUpscalers", "A request takes at most 1 upscaler.")
	ErrBadCFGDecimals      = refusal(http.StatusBadRequest, "BadCFGDecimals", "cfg_scale has at most 2 decimals.")
	ErrSpecialModelUser    = refusal(http.StatusForbidden, "Forbidden", "This model is for its special user only.")
	ErrSpecialNoUsername   = refusal(http.StatusBadRequest, "SpecialMissingUsername", "A special model's name ends in ::user#id.")
	ErrSpecialNoPayload    = refusal(http.StatusBadRequest, "SpecialMissingPayload", "A special model needs a special payload.")
	ErrSpecialPayloadUser  = refusal(http.StatusBadRequest, "BadRequest", "Only special users may send a special payload.")
	ErrMaskUnnecessary     = refusal(http.StatusBadRequest, "SourceMaskUnnecessary", "A mask needs a source image.")
	ErrControlUnsupported  = refusal(http.StatusBadRequest, "ControlNetUnsupported", "This control type does not work with one of the models.")
	ErrControlNoSource     = refusal(http.StatusBadRequest, "ControlNetSourceMissing", "A control type needs a source image.")
	ErrControlInpainting   = refusal(http.StatusBadRequest, "ControlNetInpaintingMismatch", "A control type does not work with inpainting.")
	ErrControlMismatch     = refusal(http.StatusBadRequest, "ControlNetMismatch", "A control type does not work with this kind of model.")
	ErrControlPayload      = refusal(http.StatusBadRequest, "ControlNetInvalidPayload", "An init map and a returned map exclude each other.")
	ErrTransparencyImg2Img = refusal(http.StatusBadRequest, "InvalidTransparencyImg2Img", "Transparent images do not work with extra source images.")
	ErrTransparencyControl = refusal(http.StatusBadRequest, "InvalidTransparencyCN", "Transparent images do not work with a control type.")
	ErrInvalidRemix        = refusal(http.StatusBadRequest, "InvalidRemix", "A remix needs a Stable Cascade model.")
	ErrInvalidExtraTexts   = refusal(http.StatusBadRequest, "InvalidExtraTexts.", "Extra texts are for the qr_code workflow only.")
	ErrMissingExtraTexts   = refusal(http.StatusBadRequest, "MissingExtraTexts.", "The qr_code workflow needs an extra text with the reference qr_code.")
	ErrSourceRequired      = refusal(http.StatusBadRequest, "SourceImageRequiredForModel", "This model needs a source image.")
	ErrTokenOverflow       = refusal(http.StatusBadRequest, "TokenOverflow", "max_length is more than max_context_length.")
	ErrSamplerOrder        = refusal(http.StatusBadRequest, "MissingFullSamplerOrder", "A sampler order names all 7 samplers.")
	ErrTooManyStops        = refusal(http.StatusBadRequest, "TooManyStopSequences", "A request takes at most 128 stop sequences.")
	ErrExcessiveStops      = refusal(http.StatusBadRequest, "ExcessiveStopSequence", "All stop sequences together have at most 2000 characters.")
	ErrKudosUpfront        = refusal(http.StatusForbidden, "KudosUpfront", "This request needs more kudos upfront than the account has.")
)

// Refusals of readers (errors chapter, 5.3).
var ErrRequestNotFound = refusal(http.StatusNotFound, "RequestNotFound", "There is no such request. Requests are forgotten 20 minutes after the last thing that happened to them.")

// Refusals of workers (errors chapter, 5.4). Deployed workers search for "maintenance mode", "we cannot accept workers
// serving", "wrong credentials", "Processing Job with ID … does not exist", "already submitted" and "Please check your
// worker speed".
var (
	ErrWorkerFlagged      = refusal(http.StatusForbidden, "WorkerFlaggedMaintenance", "The account has been flagged and its workers get no jobs.")
	ErrWorkerMaintenance  = refusal(http.StatusForbidden, "WorkerMaintenance", DefaultMaintenanceMessage)
	ErrAnonWorker         = refusal(http.StatusForbidden, "AnonForbiddenWorker", "The anonymous account cannot run workers.")
	ErrPolymorphicName    = refusal(http.StatusBadRequest, "PolymorphicNameConflict", "A worker of another kind has this name.")
	ErrProfaneWorkerName  = refusal(http.StatusBadRequest, "ProfaneWorkerName", "This name contains profanity.")
	ErrProfaneBridgeAgent = refusal(http.StatusBadRequest, "ProfaneBridgeAgent", "This bridge agent contains profanity.")
	ErrForbiddenName      = refusal(http.StatusBadRequest, "BadRequest", "A worker's name may not contain colab, tpu or google.")
	ErrWorkerInviteOnly   = refusal(http.StatusForbidden, "WorkerInviteOnly", "The horde is invite-only for now. Ask for an invitation.")
	ErrTooManyWorkers     = refusal(http.StatusForbidden, "TooManyWorkers", "Untrusted users may not run more workers.")
	ErrTooManyTrusted     = refusal(http.StatusForbidden, "TooManyWorkersTrusted", "The account may not run more workers without an invitation.")
	ErrTooManySameIPs     = refusal(http.StatusForbidden, "TooManySameIPs", "Too many workers of the account are on this address.")
	ErrWrongCredentials   = refusal(http.StatusForbidden, "WrongCredentials", "Wrong credentials: this belongs to another account.")
	ErrPriorityUsername   = refusal(http.StatusBadRequest, "InvalidPriorityUsername", "Priority usernames are written alias#number.")
	ErrNoModels           = refusal(http.StatusBadRequest, "BadRequest", "Unfortunately we cannot accept workers serving unrecognised models at this time")
	ErrForeignModel       = refusal(http.StatusBadRequest, "BadRequest", "A model name ends in another user's alias.")
	ErrInvalidJobID       = refusal(http.StatusNotFound, "InvalidJobID", "")
	ErrDuplicateGen       = refusal(http.StatusBadRequest, "DuplicateGen", "")
	ErrAbortedGen         = refusal(http.StatusBadRequest, "AbortedGen", "")
	ErrTooMuchMetadata    = refusal(http.StatusBadRequest, "BadRequest", "A result takes at most 50 metadata entries.")
	ErrCorruptResult      = refusal(http.StatusBadRequest, "BadRequest", "The image cannot be decoded.")
	ErrWorkerNotFound     = refusal(http.StatusNotFound, "WorkerNotFound", "There is no such worker.")
	ErrProfaneWorkerInfo  = refusal(http.StatusBadRequest, "ProfaneWorkerInfo", "This info contains profanity.")
	ErrTooLongWorkerName  = refusal(http.StatusBadRequest, "TooLongWorkerName", "A worker's name has at most 100 characters.")
	ErrWorkerNameExists   = refusal(http.StatusBadRequest, "WorkerNameAlreadyExists", "Another worker has this name.")
	ErrNoWorkerMod        = refusal(http.StatusBadRequest, "NoWorkerModSelected", "Nothing to change was given.")
	ErrLocked             = refusal(http.StatusLocked, "Locked", "The worker still has jobs, or requests that name it. Try again in 20 minutes.")
	ErrTeamNotFound       = refusal(http.StatusNotFound, "TeamNotFound", "There is no such team.")
	ErrUntrustedTeam      = refusal(http.StatusForbidden, "UntrustedTeamCreation", "Only trusted accounts may create teams.")
	ErrTeamNameExists     = refusal(http.StatusBadRequest, "TeamNameAlreadyExists", "Another team has this name.")
	ErrProfaneTeamName    = refusal(http.StatusBadRequest, "ProfaneTeamName", "This name contains profanity.")
	ErrProfaneTeamInfo    = refusal(http.StatusBadRequest, "ProfaneTeamInfo", "This info contains profanity.")
	ErrNoTeamMod          = refusal(http.StatusBadRequest, "NoTeamModSelected", "Nothing to change was given.")
	ErrNoHordeMod         = refusal(http.StatusBadRequest, "NoHordeModSelected", "Nothing to change was given.")
)

// ErrUnavailable is answered while the engine cannot make anything durable.
var ErrUnavailable = &Error{Status: http.StatusServiceUnavailable, Message: "The horde is recovering. Try again shortly.", RetryAfter: 2e9}
